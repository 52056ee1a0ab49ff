"""Judges the programs of one file by the problems of another, and writes their verdicts to a third."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

from preflab.errors import UserError
from preflab.sandbox.files import (
    JudgeProblem,
    digest_texts,
    drop_verdicts,
    format_verdict,
    read_judge_problem,
    read_programs,
    read_verdicts,
)
from preflab.sandbox.judging import Program, open_pool
from preflab.testbeds.code.known import read_exercise
from preflab.testbeds.lines import read_records
from preflab.types import Verdict

JudgedPrograms = Iterable[tuple[Program, Verdict]]
Track = Callable[[JudgedPrograms, str, int], JudgedPrograms]
"""Passes verdicts on while it shows their progress; takes the verdicts, a label and their number."""


def show_nothing(verdicts: JudgedPrograms, label: str, total: int) -> JudgedPrograms:
    """Shows no progress."""
    return verdicts


def judge_file(
    problems: Path,
    programs: Path,
    out: Path,
    *,
    workers: int = 0,
    backend: str = "bubblewrap",
    track: Track = show_nothing,
) -> Counter[str]:
    """Judges the programs that have no verdict in `out`, adds their verdicts as they come, and counts the outcomes.

    `workers`: programs at once, 0 for one a core. Raises `UserError` before anything is judged where a file cannot be read or
    written.
    """
    if programs.exists() and not programs.is_file():
        raise UserError(f"--programs {programs} is not a plain file. It is read twice: write it to a plain file first.")
    known = _read_problems(problems)
    if out.resolve() in (problems.resolve(), programs.resolve()):
        raise UserError(f"--out {out} is a file to be read: name another file.")
    done = read_verdicts(out)
    left = {program.id for program in read_programs(read_records(programs), known, done)}  # every line is read
    counts: Counter[str] = Counter()
    with _open_verdicts(out, lambda: drop_verdicts(out, left)) as file, open_pool(workers, backend) as pool:
        verdicts = pool.judge(read_programs(read_records(programs), known, done))
        for program, verdict in track(verdicts, "judging", len(left)):
            file.write(format_verdict(program, verdict))
            file.flush()
            counts[verdict.outcome] += 1
    return counts


def _read_problems(path: Path) -> dict[str, JudgeProblem]:
    """The problems of a file by their id: in the judge's own form, or records of a data set."""
    problems: dict[str, JudgeProblem] = {}
    for where, record in read_records(path):
        own = "problem_id" in record and "mode" in record
        name, prepare = (read_judge_problem if own else read_exercise)(record, where)
        if name in problems:
            raise UserError(f"{where}: the problem {name!r} is there twice.")
        problems[name] = JudgeProblem(prepare, digest_texts(json.dumps(record, sort_keys=True)))
    return problems


def _open_verdicts(path: Path, prepare: Callable[[], None]) -> TextIO:
    """The file, open to be added to; raises `UserError` where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        prepare()
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error
