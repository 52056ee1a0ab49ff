"""`preflab judge`: programs from a file, their verdicts to another, one line each as they come. `preflab sandbox check`."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from preflab.errors import UserError

if TYPE_CHECKING:
    from preflab.sandbox.files import Asked


def define(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--problems", metavar="FILE", type=Path, required=True, help="JSON lines: problems with tests")
    parser.add_argument("--programs", metavar="FILE", type=Path, required=True, help="JSON lines: programs to judge")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="the verdicts, a line a program")
    define_machine(parser)


def define_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", metavar="N", type=int, default=0, help="programs at once (default: one a core)")
    parser.add_argument("--backend", default="bubblewrap", help="bubblewrap, or bare: no walls (default: bubblewrap)")


def check_sandbox() -> int:
    """Prints what the walls are made of, then attacks them; returns 1 where one fell."""
    from rich.console import Console

    from preflab.sandbox.bubblewrap import Bubblewrap
    from preflab.sandbox.check import attack, describe

    walls, console = Bubblewrap(), Console(soft_wrap=True)
    for name, words in describe(walls):
        console.print(f"[bold]{name}[/bold]: {words}", highlight=False)
    fallen = 0
    for found in attack(walls):
        fallen += not found.held
        console.print(
            f"{'held' if found.held else '[bold red]FELL[/bold red]'}  {found.attack}  ({found.seen})", highlight=False
        )
    console.print(f"{fallen} attacks got through." if fallen else "Every attack was held.")
    return 1 if fallen else 0


def judge_files(options: argparse.Namespace) -> int:
    """Judges what has no verdict yet; returns 1 where a program could not be judged."""
    from rich.console import Console
    from rich.progress import Progress

    from preflab.sandbox.files import drop, read_programs, verdict_line, written
    from preflab.sandbox.pool import opened_pool
    from preflab.testbeds.lines import read_lines

    if options.workers < 0:
        raise UserError(f"--workers {options.workers}: give 1 or more, or 0 for one a core.")
    if options.programs.exists() and not options.programs.is_file():
        raise UserError(f"--programs {options.programs} is no plain file, and it is read twice: write it to one first.")
    problems = read_problems(options.problems)
    for given in (options.problems, options.programs):
        if options.out.resolve() == given.resolve():
            raise UserError(f"--out {options.out} is what is to be read: name another file.")
    done = written(options.out)
    left = {program.id for program in read_programs(read_lines(options.programs), problems, done)}  # every line is read
    outcomes: Counter[str] = Counter()
    with (
        writable(options.out, lambda: drop(options.out, left)) as out,
        opened_pool(options.workers, options.backend) as pool,
        Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress,
    ):
        shown = progress.add_task("judging", total=len(left))
        for program, verdict in pool.judge(read_programs(read_lines(options.programs), problems, done)):
            out.write(verdict_line(program, verdict))
            out.flush()
            outcomes[verdict.outcome] += 1
            progress.advance(shown)
    print(", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()) or "nothing left to judge")
    return 1 if outcomes["error"] else 0


def writable(path: Path, prepare: Callable[[], None]) -> TextIO:
    """The file, open to be added to; raises `UserError` where it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        prepare()
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error


def read_problems(path: Path) -> dict[str, Asked]:
    """The problems of a file by their id: in the judge's own form, or records of a data set."""
    from preflab.sandbox.files import Asked, digest, read_problem
    from preflab.testbeds.code.known import read_exercise
    from preflab.testbeds.lines import read_lines

    found: dict[str, Asked] = {}
    for where, record in read_lines(path):
        name, prepare = (read_problem if "problem_id" in record and "mode" in record else read_exercise)(record, where)
        if name in found:
            raise UserError(f"{where}: the problem {name!r} is there twice.")
        found[name] = Asked(prepare, digest(json.dumps(record, sort_keys=True)))
    return found
