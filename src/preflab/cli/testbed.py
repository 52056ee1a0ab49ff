"""`preflab testbed verify NAME`: the data's own programs, judged by their own tests, with and without walls.

A right program that does not pass has found something: a judge that is wrong, tests that are, or several right answers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.cli.judge import define_machine
from preflab.errors import UserError

if TYPE_CHECKING:
    from preflab.testbeds.code.exercise import Exercise

Outcomes = dict[str, str]
"""What became of programs, named `problem#number`."""


def define(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("verify",), help="judge the data's own programs")
    parser.add_argument("testbed", metavar="NAME", help="apps, code_contests, humaneval, leetcode, mbpp")
    parser.add_argument("--data", metavar="PATH|NAME", help="where the data lie")
    parser.add_argument("--programs", metavar="N", type=int, default=1, help="programs a problem (default: 1)")
    parser.add_argument(
        "--compare", action="store_true", help="judge right ones again without walls: do verdicts agree?"
    )
    parser.add_argument("--reasons", metavar="FILE", type=Path, help="JSON: why a program does not pass, by problem")
    parser.add_argument("--out", metavar="FILE", type=Path, help="figures and ids as JSON, no text of the data")
    define_machine(parser)


def verify(options: argparse.Namespace) -> int:
    """Prints and writes what was found; returns 1 where a right program fails without a known reason, or walls change a
    verdict."""
    check(options)
    exercises = read(options.testbed, options.data)
    reasons = {} if options.reasons is None else read_reasons(options.reasons)
    right = judged(exercises, "right", options.programs, options.workers, options.backend)
    wrong = judged(exercises, "wrong", options.programs, options.workers, options.backend)
    bare = judged(exercises, "right", options.programs, options.workers, "bare") if options.compare else {}
    exceptions = {
        name: [outcome, reasons.get(problem(name)) or known(exercises, name, outcome)]
        for name, outcome in right.items()
        if outcome != "passed"
    }
    found = {
        "testbed": options.testbed,
        "problems": len(exercises),
        "without programs": sum(not each.right for each in exercises),
        "left out": dict(Counter(each.unjudged for each in exercises if each.unjudged)),
        "right programs": dict(Counter(right.values())),
        "wrong programs": dict(Counter(wrong.values())),
        "wrong programs that pass": [name for name, outcome in wrong.items() if outcome == "passed"],
        "exceptions": exceptions,
        "compared without walls": len(bare),
        "differ without walls": {name: [right[name], seen] for name, seen in bare.items() if seen != right[name]},
    }
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    say(found)
    return 1 if found["differ without walls"] or not all(why for _, why in exceptions.values()) else 0


def known(exercises: Sequence[Exercise], name: str, outcome: str) -> str:
    """Why a right program may not pass, by its problem. That several answers are right explains a wrong one alone."""
    from preflab.testbeds.code.exercise import MANY, UNSAID

    why = next(each.unjudged for each in exercises if each.name == problem(name))
    return "" if why in (MANY, UNSAID) and outcome != "failed" else why


def check(options: argparse.Namespace) -> None:
    """Raises `UserError` before anything is judged."""
    if options.programs < 1:
        raise UserError(f"--programs {options.programs}: give 1 or more, or nothing is verified.")
    if options.workers < 0:
        raise UserError(f"--workers {options.workers}: give 1 or more, or 0 for one a core.")
    if options.out is not None and options.out.is_dir():
        raise UserError(f"--out {options.out} is a folder: name a file.")


def read_reasons(path: Path) -> dict[str, str]:
    """Why programs do not pass, by problem; raises `UserError` where the file holds other things."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--reasons {path} cannot be read: {error}.") from error
    if not isinstance(found, dict) or not all(isinstance(why, str) for why in found.values()):
        raise UserError(f"--reasons {path} must hold one object, problem to reason.")
    return found


def read(testbed: str, data: str | None) -> list[Exercise]:
    """Every problem of a testbed; raises `UserError` where it has no programs of its own."""
    from preflab.testbeds import TESTBEDS
    from preflab.testbeds.code.testbed import Code

    spec = TESTBEDS.parse({"kind": testbed, **({} if data is None else {"data": data})})
    if not isinstance(spec, Code):
        raise UserError(f"The testbed {testbed} has no programs of its own to verify.")
    return list(spec.exercises())


def judged(exercises: Sequence[Exercise], kind: str, count: int, workers: int, backend: str) -> Outcomes:
    """The first `count` programs of each problem that has tests; in the order of the data."""
    from rich.console import Console
    from rich.progress import track

    from preflab.sandbox.pool import Program, opened_pool
    from preflab.testbeds.code.judge import question

    programs: list[Program] = []
    for each in exercises:
        tests = (*each.public, *each.hidden)
        for number, text in enumerate(getattr(each, kind)[:count] if tests else ()):
            programs.append(question(text, tests)[1]._replace(id=f"{each.name}#{number}"))
    shown = Console(stderr=True)
    with opened_pool(workers, backend) as pool:
        done = track(
            pool.judge(programs), kind, len(programs), console=shown, disable=not (programs and sys.stderr.isatty())
        )
        found = {program.id: verdict.outcome for program, verdict in done}
    return {program.id: found[program.id] for program in programs}


def problem(name: str) -> str:
    return name.rpartition("#")[0]


def say(found: dict[str, Any]) -> None:
    for name, value in found.items():
        if name != "exceptions":
            print(f"{name}: {value}")
    for name, (outcome, reason) in found["exceptions"].items():
        print(f"  {name}: {outcome}; {reason or 'NO REASON KNOWN'}")
