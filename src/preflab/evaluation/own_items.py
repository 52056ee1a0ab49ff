"""Measures a policy by the evaluators that use their own items, such as the questions of a benchmark, instead of prompts."""

from __future__ import annotations

from preflab.errors import UserError
from preflab.evaluation.base import PolicyEvaluator
from preflab.evaluation.bench import AnyPolicy, Bench
from preflab.evaluation.returned import blaming_outside, check_items
from preflab.evaluation.served import NO_OWN_ITEMS, ServedPolicy


def measure_on_own_items(bench: Bench, policy: AnyPolicy) -> dict[str, dict[str, float]]:
    """Measures the policy with each `PolicyEvaluator` of the bench. The keys of the returned mapping are the names that
    the measures have in results. Each value is a mapping from the name of each item to the measured number. The
    temperature and best-of-n have no effect, because a `PolicyEvaluator` measures the policy itself and does not use
    the policy's sampled answers. Raises `UserError` for a served policy, which has no model to measure."""
    values: dict[str, dict[str, float]] = {}
    for each in bench.evaluators:
        if isinstance(each.evaluator, PolicyEvaluator):
            if isinstance(policy, ServedPolicy):
                raise UserError(NO_OWN_ITEMS)
            source = f"{type(each.evaluator).__name__}.measure_policy"
            bench.say(f"measures the policy by {', '.join(measure.label for measure in each.measures)}")
            with blaming_outside(each.evaluator, source):
                measurements = check_items(each.evaluator.measure_policy(policy), each.measures, source)
            values |= {each.prefix + name: items for name, items in measurements.items()}
    return values
