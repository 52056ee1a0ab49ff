"""`preflab judge`: programs from a file, their verdicts to another, one line each as they come. `preflab sandbox check`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from rich.console import Console
from rich.progress import Progress

from preflab.errors import UserError
from preflab.sandbox.bubblewrap import Bubblewrap
from preflab.sandbox.check import attack, describe
from preflab.sandbox.files import read_problems, read_programs, verdict_line, written
from preflab.sandbox.pool import opened_pool
from preflab.testbeds.lines import read_lines


def check_sandbox() -> int:
    """Prints what the walls are made of, then attacks them; returns 1 where one fell."""
    walls, console = Bubblewrap(), Console()
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
    if options.workers < 0:
        raise UserError(f"--workers {options.workers}: give 1 or more, or 0 for one a core.")
    problems = read_problems(read_lines(options.problems))
    done = written(options.out)
    total = sum(
        1 for _ in read_programs(read_lines(options.programs), problems, done)
    )  # and every line is checked first
    outcomes: Counter[str] = Counter()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with (
        options.out.open("a", encoding="utf-8") as out,
        opened_pool(options.workers) as pool,
        Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress,
    ):
        shown = progress.add_task("judging", total=total)
        for program, verdict in pool.judge(read_programs(read_lines(options.programs), problems, done)):
            out.write(verdict_line(program.id, verdict))
            out.flush()
            outcomes[verdict.outcome] += 1
            progress.advance(shown)
    print(", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()) or "nothing left to judge")
    return 1 if outcomes["error"] else 0
