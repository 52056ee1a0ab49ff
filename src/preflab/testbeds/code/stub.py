"""Finds problems with useless tests: an empty program passes all tests, or the tests fail before they call the program.

The empty program defines the functions that the tests call, but does nothing. It is called the stub. If an analysis of
the tests (`certain_failure`) or an earlier run (`stub_memory`) shows the result, the tests are not run on the stub. The
runs therefore take time only when new data are first opened.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from preflab.errors import UserError
from preflab.sandbox.answer import Recipe
from preflab.sandbox.compare import same_text
from preflab.sandbox.judging import UNJUDGED, SandboxJudge
from preflab.sandbox.values import same_answer
from preflab.sandbox.verdict import TESTS_FAIL, ProgramTask
from preflab.testbeds.code.certain_failure import certainly_fails
from preflab.testbeds.code.stub_memory import StubMemory, digest_tests
from preflab.text import counted
from preflab.types import Test, Verdict

_logger = logging.getLogger("preflab")
PASSES_ALL = "an empty program passes all tests that judge an answer"
FAILS_ALONE = "its tests fail before they call the program"
_LIMITS = ("timeout", "memory", "output-limit")  # the machine can cause these failures, even if the tests are right
_MANY = 500  # above this number of problems, a message announces long runs


class Untested(NamedTuple):
    """The result of `find_untested`. `reasons`: maps each problem with useless tests to the reason why its tests are
    useless. `notes`: notes that every report must print; empty if the tests of all problems could be tried on the
    stub."""

    reasons: dict[str, str]
    notes: list[str]


def find_untested(problems: Mapping[str, Sequence[Test]], judge: SandboxJudge) -> Untested:
    """Finds the problems with useless tests. `problems`: maps each problem to the tests that judge an answer (see
    `list_deciding`). Each problem has at least one such test. If programs cannot be run, finds only the problems whose
    result is known without a new run."""
    passed = {name: _is_passed_by_stub(tests) for name, tests in problems.items()}
    reasons = {name: PASSES_ALL for name, passes in passed.items() if passes}
    digests = {
        name: digest_tests(write_stub(problems[name][0].how), problems[name], judge)
        for name, passes in passed.items()
        if passes is None
    }
    memory = StubMemory()
    new = {digest: name for name, digest in digests.items() if digest not in memory.passed}
    if len(new) > _MANY:
        _logger.warning(
            "preflab: the tests of %d problems are tried on an empty program. This happens once for these data.",
            len(new),
        )
    try:
        verdicts = judge.judge_once([(write_stub(problems[name][0].how), problems[name]) for name in new.values()])
    except UserError as error:
        note = f"The tests of {counted(len(new), 'problem')} were not tried on an empty program: {error}"
        return Untested(reasons | _recall(digests, memory.passed, {}), [note])
    outcomes = dict(zip(new, verdicts, strict=True))
    memory.add({digest: verdict.correct for digest, verdict in outcomes.items() if verdict.outcome != UNJUDGED})
    return Untested(reasons | _recall(digests, memory.passed, outcomes), [])


def list_deciding(public: Sequence[Test], hidden: Sequence[Test]) -> Sequence[Test]:
    """Returns the tests that judge an answer: the hidden tests, or the public tests if no test is hidden."""
    return hidden or public


def write_stub(recipe: Recipe) -> str:
    """Returns a program that defines every function and class that the tests call. The functions do nothing."""
    names = recipe.task.functions.values()
    methods = [name.split(".") for name in names if name.count(".") == 1]
    functions = [f"def {name}(*_, **__): pass" for name in names if name.isidentifier()]
    classes = [f"class {name}:\n    def __init__(self, *_, **__): pass" for name in recipe.task.nodes]
    classes += [f"class {name}:\n    def {method}(self, *_, **__): pass" for name, method in methods]
    return "\n".join([*functions, *classes]) or "pass"


def _recall(digests: Mapping[str, str], passed: Mapping[str, bool], outcomes: Mapping[str, Verdict]) -> dict[str, str]:
    """Returns a mapping from each problem with useless tests to the reason why its tests are useless. `passed`: the
    results of earlier runs. `outcomes`: the verdicts of the new runs. Leaves out problems without a result."""
    reasons = {
        name: PASSES_ALL if passed.get(digest) else _explain_error(outcomes.get(digest))
        for name, digest in digests.items()
    }
    return {name: reason for name, reason in reasons.items() if reason}


def _explain_error(verdict: Verdict | None) -> str:
    """If the tests failed before they called the program, returns this as the reason why they are useless. Otherwise,
    returns ''. Ignores failures at a limit on time, memory or output, because the machine can cause them."""
    if verdict is None or verdict.outcome != UNJUDGED:
        return ""
    got = str(verdict.detail.get("got", ""))
    alone = got.startswith(TESTS_FAIL) and got.removeprefix(TESTS_FAIL) not in _LIMITS
    return FAILS_ALONE if alone else ""


def _is_passed_by_stub(tests: Sequence[Test]) -> bool | None:
    """Returns whether the stub passes all of the tests, or None if only a run can show this."""
    unknown = False
    for test in tests:
        passes = _passes_one(test)
        if passes is False:
            return False
        unknown = unknown or passes is None
    return None if unknown else True


def _passes_one(test: Test) -> bool | None:
    task: ProgramTask = test.how.task
    if task.special:
        return None
    if task.mode == "stdin":
        return same_text(test.output, "", task.compare)
    if task.mode == "call":
        return same_answer(test.output, None, task.compare_values)
    return False if certainly_fails(test.input, task.functions, task.prelude) else None
