"""Measures policies with evaluators that no method was trained on. `EVALUATORS` lists the evaluators that grade the
answers of one policy. `PAIRWISE_EVALUATORS` lists the evaluators that compare the answers of two policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from preflab.spec import Registry

if TYPE_CHECKING:
    from preflab.evaluation.base import EvaluatorSpec
    from preflab.evaluation.pairwise import PairwiseEvaluatorSpec

EVALUATORS: Registry[EvaluatorSpec] = Registry(
    "evaluator",
    "preflab.evaluators",
    {
        "hidden-tests": "preflab.evaluation.hidden_tests:HiddenTests",
        "final-answer": "preflab.evaluation.final_answer:FinalAnswers",
        "lm-eval": "preflab.evaluation.lm_harness:LmEval",
        "true-reward": "preflab.evaluation.true_reward:TrueReward",
        "true-safety": "preflab.evaluation.true_safety:TrueSafety",
        "reward-model": "preflab.evaluation.held_out_reward:HeldOutReward",
        "safety": "preflab.evaluation.safety:Safety",
    },
    "preflab.evaluation.base:EvaluatorSpec",
)

PAIRWISE_EVALUATORS: Registry[PairwiseEvaluatorSpec] = Registry(
    "pairwise evaluator",
    "preflab.pairwise_evaluators",
    {
        "by-reward": "preflab.evaluation.by_reward:ByReward",
        "by-true-value": "preflab.evaluation.by_true_value:ByTrueValue",
        "preference-judge": "preflab.evaluation.preference.evaluator:PreferenceEvaluator",
    },
    "preflab.evaluation.pairwise:PairwiseEvaluatorSpec",
)
