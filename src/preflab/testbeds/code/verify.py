"""Checks the tests of a data set by running them on the programs of the same data set. The sandbox judges the programs.
For comparison, the right programs can be judged again with the backend `bare`, which does not isolate programs.

A program that the data label as right should pass the tests. If such a program fails, the judge or the tests are wrong,
or the problem has several right answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from preflab.errors import UserError
from preflab.plain import parse_json
from preflab.sandbox.answer import build_program
from preflab.sandbox.judging import Pool, Program, SandboxJudge, open_pool
from preflab.testbeds.code.evidence import EITHER_CASE, EVIDENCE_FIELD, SHOWN, ignore_case
from preflab.testbeds.code.exercise import Exercise
from preflab.testbeds.code.judge_file import Track
from preflab.testbeds.code.several import MANY, UNSAID
from preflab.testbeds.code.stub import find_untested, list_deciding
from preflab.testbeds.code.testbed import Code

OutcomeByName = dict[str, str]  # maps the name of a program (`problem#number`) to its outcome


@dataclass(frozen=True)
class Verification:
    """The results of `verify_testbed`. `right`, `wrong`: the outcomes of programs that the data label as right or
    wrong. `bare`: the outcomes of right programs that are judged again with the backend `bare`. `exceptions`: the right
    programs that do not pass, each with its outcome and the reason (empty if the reason is not known). `shown`: the
    evidence that right programs give about their problems (see the module `evidence`). `untested`: the problems with
    useless tests, each with the reason (see the module `stub`)."""

    exercises: Sequence[Exercise]
    right: OutcomeByName
    wrong: OutcomeByName
    bare: OutcomeByName
    exceptions: dict[str, tuple[str, str]]
    shown: dict[str, str]
    untested: dict[str, str]

    @property
    def differences(self) -> dict[str, tuple[str, str]]:
        """The programs whose outcomes in the sandbox and with the backend `bare` differ. Each program has the sandbox's
        outcome first, and then the outcome with `bare`."""
        return {name: (self.right[name], bare) for name, bare in self.bare.items() if bare != self.right[name]}

    @property
    def agrees(self) -> bool:
        """Whether both backends give the same outcomes, and every right program either passes or has a known reason for
        its failure."""
        return not self.differences and all(reason for _, reason in self.exceptions.values())

    def record(self) -> dict[str, Any]:
        """Returns a summary with counts, and with the names of programs and problems. The summary contains no text of
        the data set."""
        return {
            "problems": len(self.exercises),
            "without programs": sum(not each.right for each in self.exercises),
            "left out": dict(Counter(each.unjudged for each in self.exercises if each.unjudged)),
            "right programs": dict(Counter(self.right.values())),
            "wrong programs": dict(Counter(self.wrong.values())),
            "wrong programs that pass": [name for name, outcome in self.wrong.items() if outcome == "passed"],
            "tests that do not test": self.untested,
            EVIDENCE_FIELD: self.shown,
            "exceptions": self.exceptions,
            "compared without walls": len(self.bare),
            "differ without walls": self.differences,
        }


def verify_testbed(
    testbed: Code,
    *,
    programs: int,
    reasons: Mapping[str, str],
    compare: bool,
    workers: int,
    backend: str,
    packages: Sequence[str] = (),
    track: Track,
) -> Verification:
    """Judges the right and wrong programs of each problem. `programs`: the largest number of right programs, and also
    of wrong programs, that are judged for each problem. These are the first programs in the data. `reasons`: maps a
    problem to a known reason why its right programs do not pass. `compare`: whether right programs are judged again
    with the backend `bare`. Raises `UserError` if the data cannot be read."""
    exercises = list(testbed.read_exercises())
    untested = _find_untested(exercises, SandboxJudge(workers, backend, packages, every=False))
    right = judge_programs(exercises, "right", programs, open_pool(workers, backend, packages), track)
    wrong = judge_programs(exercises, "wrong", programs, open_pool(workers, backend, packages), track)
    bare = judge_programs(exercises, "right", programs, open_pool(workers, "bare", packages), track) if compare else {}
    problems = {each.name: each for each in exercises}
    exceptions: dict[str, tuple[str, str]] = {}
    for name, outcome in right.items():
        if outcome != "passed":
            problem = name.rpartition("#")[0]
            reason = reasons.get(problem) or explain_failure(problems[problem], outcome)
            exceptions[name] = outcome, reason or untested.get(problem, "")
    doubtful = [each for each in exercises if not each.unjudged and "failed" in _list_outcomes(each, right)]
    caseless = [ignore_case(each) for each in doubtful if each.recipe.task.compare == "tokens"]
    pool = open_pool(workers, backend, packages)
    loose = judge_programs(caseless, "right", programs, pool, track) if caseless else {}
    shown = {each.name: _explain_doubt(_list_outcomes(each, right), _list_outcomes(each, loose)) for each in doubtful}
    shown = {name: why for name, why in shown.items() if why}
    return Verification(exercises, right, wrong, bare, exceptions, shown, untested)


def _find_untested(exercises: Sequence[Exercise], judge: SandboxJudge) -> dict[str, str]:
    """Returns a mapping from each problem with useless tests to the reason why its tests are useless (see the module
    `stub`). Ignores problems whose answers cannot be judged for another reason."""
    problems = {each.name: list_deciding(each.public, each.hidden) for each in exercises if not each.unjudged}
    with closing(judge):
        return find_untested(problems, judge).reasons


def _list_outcomes(problem: Exercise, outcomes: OutcomeByName) -> list[str]:
    """Returns the outcomes of a problem's right programs."""
    names = (f"{problem.name}#{number}" for number in range(len(problem.right)))
    return [outcomes[name] for name in names if name in outcomes]


def _explain_doubt(outcomes: Sequence[str], loose: Sequence[str]) -> str:
    """Returns the evidence about a problem if at least one of its right programs failed. `outcomes`: the outcomes of
    the right programs. `loose`: their outcomes in a comparison that ignores case, empty if there is no such comparison.

    Returns `EITHER_CASE` if all programs pass in `loose`: their answers differ only in case. Otherwise, returns `SHOWN`
    if at least one program passes in `outcomes`: the programs give different answers. Otherwise, returns ''.
    """
    if loose and all(outcome == "passed" for outcome in loose):
        return EITHER_CASE
    return SHOWN if "passed" in outcomes else ""


def explain_failure(problem: Exercise, outcome: str) -> str:
    """Returns a known reason why a right program of the problem does not pass, or '' if no reason is known. If the
    problem has several right answers, this is a reason for the outcome `failed`, but not for a crash or an exceeded
    limit."""
    return "" if problem.unjudged in (MANY, UNSAID, SHOWN) and outcome != "failed" else problem.unjudged


def read_reasons(path: Path) -> dict[str, str]:
    """Reads a file that maps problems to the reasons why their programs do not pass. Raises `UserError` if the file
    does not have this form."""
    try:
        reasons = parse_json(path.read_bytes(), f"--reasons {path} cannot be read")
    except OSError as error:
        raise UserError(f"--reasons {path} cannot be read: {error}.") from error
    if not isinstance(reasons, dict) or not all(isinstance(reason, str) for reason in reasons.values()):
        raise UserError(f"--reasons {path} must contain one JSON object that maps each problem to a reason.")
    return reasons


def judge_programs(
    exercises: Sequence[Exercise],
    kind: Literal["right", "wrong"],
    count: int,
    opened: AbstractContextManager[Pool],
    track: Track,
) -> OutcomeByName:
    """Returns the outcomes of the first `count` programs of each problem. Leaves out problems without tests. The
    outcomes are in the same order as the problems."""
    programs: list[Program] = []
    for each in exercises:
        texts = each.right if kind == "right" else each.wrong
        for number, text in enumerate(texts[:count] if each.tests else ()):
            programs.append(Program(f"{each.name}#{number}", *build_program(text, each.tests)))
    with opened as pool:
        verdicts = track(pool.judge(programs), kind, len(programs))
        outcomes = {program.id: verdict.outcome for program, verdict in verdicts}
    return {program.id: outcomes[program.id] for program in programs}
