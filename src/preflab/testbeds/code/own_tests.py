"""Prepares the user's own Python tests for the sandbox, and describes the problems whose tests cannot be used."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace

from preflab.sandbox.answer import Recipe
from preflab.sandbox.limits import Limits
from preflab.testbeds.code.beyond_values import explain_beyond_values
from preflab.testbeds.code.defined_tests import add_calls, explain_unrunnable
from preflab.text import counted
from preflab.types import Test

_NAMED = 5
"""A note about left-out problems names at most this number of problems."""


def call_tests(test: Test) -> Test:
    """Completes the user's test if it is Python code. Such code can define test functions without calling them. The
    missing calls are added (see `add_calls`). Any other test stays unchanged."""
    code = isinstance(test.how, Recipe) and test.how.task.mode == "check"
    return replace(test, input=add_calls(test.input, test.how.function)) if code else test


def explain_own_tests(tests: Sequence[Test]) -> str:
    """Returns the reason why the sandbox cannot run the user's own tests of a problem. Returns '' if the sandbox can
    run the tests. A test is the user's own if it has the default limits. This function must therefore be called before
    the testbed replaces these limits."""
    recipes = [(test.input, test.how) for test in tests if isinstance(test.how, Recipe)]
    own = [(code, how) for code, how in recipes if how.task.mode == "check" and how.task.limits == Limits()]
    bodies = [(ast.parse(code).body, how) for code, how in own]
    reasons = [explain_unrunnable(body, how.function) for body, how in bodies]
    reasons += [explain_beyond_values(body, how.task.functions) for body, how in bodies]
    return next(filter(None, reasons), "")


def describe_untested(reasons: Mapping[str, str], places: Mapping[str, str]) -> list[str]:
    """Returns one note for each reason why problems are left out. A note gives the number of these problems and their
    places in the data. `reasons`: maps problem ids to reasons. `places`: maps problem ids to places (file and line)."""
    notes: list[str] = []
    for reason in dict.fromkeys(reasons.values()):
        named = [places[name] for name, why in reasons.items() if why == reason]
        shown = ", ".join([*named[:_NAMED], "..."] if len(named) > _NAMED else named)
        notes.append(f"{counted(len(named), 'problem')} left out because {reason} ({shown}).")
    return notes
