"""Measures policies by evaluators that no method was trained on. The registries hold two kinds of evaluators by name: those
that grade the answers of one policy, and the pairwise ones, which compare the answers of two policies."""

from __future__ import annotations

from preflab.spec import Registry

EVALUATORS = Registry(
    "evaluator",
    "preflab.evaluators",
    {
        "hidden-tests": "preflab.evaluation.hidden_tests:HiddenTests",
        "reward-model": "preflab.evaluation.held_out_reward:HeldOutReward",
    },
    "preflab.evaluation.base:EvaluatorSpec",
)

PAIRWISE_EVALUATORS = Registry(
    "pairwise evaluator",
    "preflab.pairwise_evaluators",
    {"by-reward": "preflab.evaluation.by_reward:ByReward"},
    "preflab.evaluation.pairwise:PairwiseEvaluatorSpec",
)
