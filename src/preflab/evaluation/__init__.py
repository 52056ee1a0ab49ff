"""Measures policies with evaluators that no method was trained on. `EVALUATORS` lists the evaluators that grade the
answers of one policy. `PAIRWISE_EVALUATORS` lists the evaluators that compare the answers of two policies."""

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
    {
        "by-reward": "preflab.evaluation.by_reward:ByReward",
        "preference-judge": "preflab.evaluation.preference.evaluator:PreferenceEvaluator",
    },
    "preflab.evaluation.pairwise:PairwiseEvaluatorSpec",
)
