"""Judges the programs of one file on the problems of another file, and writes the verdicts to a third file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from preflab.data.lines import read_records
from preflab.data.shapes import SHAPES, recognise
from preflab.errors import UserError
from preflab.sandbox import files
from preflab.sandbox.answer import build_program
from preflab.sandbox.judging import Program, open_pool
from preflab.sandbox.verdict import ProgramTask
from preflab.testbeds import TESTBEDS
from preflab.testbeds.code.testbed import Code
from preflab.types import Verdict

JudgedPrograms = Iterable[tuple[Program, Verdict]]
Track = Callable[[JudgedPrograms, str, int], JudgedPrograms]
"""A function that yields the given verdicts unchanged and reports the progress. Its arguments are the verdicts, a
label, and the number of verdicts."""


def judge_file(
    problems: Path,
    programs: Path,
    out: Path,
    *,
    workers: int,
    backend: str,
    packages: Sequence[str] = (),
    track: Track,
) -> Counter[str]:
    """Judges the programs that have no verdict in `out`, and appends each verdict to `out` immediately. Returns the
    number of judged programs with each outcome.

    `workers`: the number of programs that are judged at the same time; 0 means one per core. `track`: reports the
    progress. Raises `UserError` if a file cannot be read or written. This error is raised before the first program is
    judged.
    """
    if programs.exists() and not programs.is_file():
        raise UserError(
            f"--programs {programs} is not a plain file. preflab reads the programs twice: write them to a plain file."
        )
    known = _read_problems(problems)
    if out.resolve() in (problems.resolve(), programs.resolve()):
        raise UserError(f"--out {out} is also an input file: name another file.")
    done = files.read_verdicts(out)
    left = {program.id for program in files.read_programs(read_records(programs), known, done)}  # reads the whole file
    counts: Counter[str] = Counter()
    with _open_verdicts(out, left) as file, open_pool(workers, backend, packages) as pool:
        verdicts = pool.judge(files.read_programs(read_records(programs), known, done))
        for program, verdict in track(verdicts, "judging", len(left)):
            file.write(files.format_verdict(program, verdict))
            file.flush()
            counts[verdict.outcome] += 1
    return counts


def _read_problems(path: Path) -> dict[str, files.JudgeProblem]:
    """Returns a mapping from problem id to problem, for all problems of a file. A record has the format of `preflab
    judge`, or the format of a known data set."""
    problems: dict[str, files.JudgeProblem] = {}
    for where, record in read_records(path):
        own = "problem_id" in record and "mode" in record
        name, prepare = (files.read_judge_problem if own else _read_exercise)(record, where)
        if name in problems:
            raise UserError(f"{where}: the problem {name!r} occurs twice.")
        problems[name] = files.JudgeProblem(prepare, files.digest_texts(json.dumps(record, sort_keys=True)))
    return problems


def _read_exercise(record: Mapping[str, Any], where: str) -> tuple[str, files.PrepareProgram]:
    """Returns the id of a record from a known data set, and a function that turns an answer into the program that is
    run. The fields of the record show to which data set the record belongs. Raises `UserError` if no known data set has
    records with these fields."""
    shape = recognise({name: value for name, value in record.items() if value is not None})
    if shape is None or not shape.testbed:
        known = dict.fromkeys(shape.testbed for shape in SHAPES if shape.testbed)
        raise UserError(
            f"{where}: the record has neither the form of `preflab judge` (`problem_id`, `mode`, `hidden_tests`, ...) nor "
            f"the form of a known data set ({', '.join(known)}). Its fields are: {', '.join(record)}."
        )
    testbed = TESTBEDS.parse({"kind": shape.testbed})
    assert isinstance(testbed, Code)  # the testbed of every known data set of programs is a `Code`
    exercise = testbed.mark_exercise(record, where)

    def prepare(answer: str) -> tuple[str, ProgramTask]:
        if exercise.unjudged:
            return answer, ProgramTask("stdin", unjudged=f"the problem cannot be judged: {exercise.unjudged}")
        return build_program(answer, exercise.tests)

    return exercise.name, prepare


def _open_verdicts(path: Path, left: set[str]) -> TextIO:
    """Opens the file of verdicts, so that verdicts can be appended. First removes any old verdicts on the programs in
    `left`, because these programs are going to be judged. Raises `UserError` if the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.drop_verdicts(path, left)
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error
