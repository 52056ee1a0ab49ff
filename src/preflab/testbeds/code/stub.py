"""Finds problems whose tests do not test: an empty program passes all tests, or the tests fail without a program.

The empty program, which does nothing, is called the stub. The stub is run against the tests, unless the result is
certain without a run, or an earlier run has shown the result (see `stub_memory`). These runs therefore take time only
when new data are first opened.
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
_LIMITS = ("timeout", "memory", "output-limit")  # these may be the machine's fault
_MANY = 500  # if more problems than this are tried, a message announces the long runs


class Untested(NamedTuple):
    """`reasons`: maps each problem whose tests do not test to the reason. `notes`: what every report must say if the
    tests of some problems could not be tried."""

    reasons: dict[str, str]
    notes: list[str]


def find_untested(problems: Mapping[str, Sequence[Test]], judge: SandboxJudge) -> Untested:
    """Finds the problems whose tests do not test. `problems`: maps each problem to the tests that judge an answer (see
    `list_deciding`); each problem has at least one such test. If no program can be run, finds only the problems for
    which the result is known without a run."""
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
    """Returns a program that defines what the tests call, but does nothing."""
    names = recipe.task.functions.values()
    methods = [name.split(".") for name in names if name.count(".") == 1]
    functions = [f"def {name}(*_, **__): pass" for name in names if name.isidentifier()]
    classes = [f"class {name}:\n    def __init__(self, *_, **__): pass" for name in recipe.task.nodes]
    classes += [f"class {name}:\n    def {method}(self, *_, **__): pass" for name, method in methods]
    return "\n".join([*functions, *classes]) or "pass"


def _recall(digests: Mapping[str, str], passed: Mapping[str, bool], outcomes: Mapping[str, Verdict]) -> dict[str, str]:
    """Returns the reason for each problem whose tests do not test. The reason follows from an earlier run (`passed`) or
    a new run (`outcomes`). A problem without a verdict has no reason."""
    reasons = {
        name: PASSES_ALL if passed.get(digest) else _explain_error(outcomes.get(digest))
        for name, digest in digests.items()
    }
    return {name: reason for name, reason in reasons.items() if reason}


def _explain_error(verdict: Verdict | None) -> str:
    """Returns the reason if the tests themselves failed before they called the program; otherwise ''. A failure at a
    limit does not count, because it may be the machine's fault."""
    if verdict is None or verdict.outcome != UNJUDGED:
        return ""
    got = str(verdict.detail.get("got", ""))
    alone = got.startswith(TESTS_FAIL) and got.removeprefix(TESTS_FAIL) not in _LIMITS
    return FAILS_ALONE if alone else ""


def _is_passed_by_stub(tests: Sequence[Test]) -> bool | None:
    """Returns whether the stub passes all of the tests; None if only a run can show this."""
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
