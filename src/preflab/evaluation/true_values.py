"""Checks that a testbed knows the true values that an evaluator needs. Only evaluators read the true values of answers.
Methods and rewards cannot read them."""

from __future__ import annotations

from collections.abc import Iterable

from preflab.errors import UserError
from preflab.testbeds.base import Testbed


def require_true_values(testbed: Testbed | None, names: Iterable[str], evaluator: str) -> Testbed:
    """Returns the testbed. Raises `UserError` if the testbed does not know the true values with these `names`."""
    if testbed is None:
        raise UserError(f"The evaluator {evaluator} needs a testbed. Name a testbed.")
    missing = [name for name in names if name not in testbed.true_names]
    if missing:
        known = f"It knows {', '.join(testbed.true_names)}. " if testbed.true_names else ""
        raise UserError(
            f"The evaluator {evaluator} needs the true {missing[0]} of answers, but the testbed {testbed.name} does not "
            f"know it. {known}Choose another evaluator."
        )
    return testbed
