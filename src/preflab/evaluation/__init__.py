"""The measures: what no method was trained on. Evaluators by name; `evaluate` puts a policy before one of them."""

from __future__ import annotations

from preflab.spec import Registry

EVALUATORS = Registry(
    "evaluator",
    "preflab.evaluators",
    {
        "hidden-tests": "preflab.evaluation.hidden_tests:HiddenTests",
        "reward-model": "preflab.evaluation.held_out_reward:HeldOutReward",
    },
)
