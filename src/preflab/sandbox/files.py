"""Reads and writes the files of `preflab judge`: problems, programs and verdicts, each as one JSON line.

A problem has the fields `problem_id`, `mode` (stdin or call), `entry_point`, `public_tests` and `hidden_tests`,
`time_limit_s` (for each test), `memory_limit_mb`, `compare` (lines, tokens, caseless, exact), and `special` (the source
of a program that decides in place of `compare`). A stdin test is `{input, output}`; a call test is `{args, expected}`.
A program has the fields `program_id`, `problem_id` and `source`. A verdict has the fields `program_id`, `verdict`,
`passed` (the number of passed tests), `tests` (the number of all tests), `digest` (of the problem and the program), and
`detail` (about the first failing test). If a run is interrupted, a second run continues where the first run stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

from preflab.errors import UserError
from preflab.plain import parse_json
from preflab.sandbox import wire
from preflab.sandbox.compare import OutputComparison
from preflab.sandbox.judging import Program
from preflab.sandbox.limits import Limits, derive_wall_limit
from preflab.sandbox.verdict import ProgramTask
from preflab.types import Test, Verdict

_VERDICT_START = b'{"program_id": '  # the beginning of every line that contains a verdict
PrepareProgram = Callable[[str], tuple[str, ProgramTask]]


class JudgeProblem(NamedTuple):
    """A problem whose programs are judged. `prepare`: the function that turns a program's text into the source and the
    task to run; `digest`: the digest of the problem's record."""

    prepare: PrepareProgram
    digest: str


_TEST_FIELDS = {"stdin": ("input", "output"), "call": ("args", "expected")}


def read_judge_problem(record: Mapping[str, Any], where: str) -> tuple[str, PrepareProgram]:
    """Returns a problem's id, and the function that turns a program's text into the source and the task to run. Raises
    `UserError`, which names the line and the field, if the record is wrong."""
    task = _read_task(record, where)
    return _require_field(record, "problem_id", str, where), lambda source: (source, task)


def _read_task(record: Mapping[str, Any], where: str) -> ProgramTask:
    mode = _require_field(record, "mode", str, where)
    if mode not in _TEST_FIELDS:
        raise UserError(f"{where}: `mode` is {mode!r}; it must be {' or '.join(_TEST_FIELDS)}.")
    entry_point = _require_field(record, "entry_point", str, where) if mode == "call" else ""
    tests = [test for field in ("public_tests", "hidden_tests") for test in _read_tests(record, field, mode, where)]
    if not tests:
        raise UserError(f"{where}: there are no tests, so every program would pass. Add a test.")
    compare = record.get("compare", "lines")
    if compare not in get_args(OutputComparison):
        raise UserError(
            f"{where}: `compare` is {compare!r}; it must be one of {', '.join(get_args(OutputComparison))}."
        )
    special = _require_field(record, "special", str, where) if record.get("special") else ""
    if mode == "call" and (special or "compare" in record):
        raise UserError(f"{where}: `compare` and `special` compare printed text, so `mode` must be stdin.")
    if special and "compare" in record:
        raise UserError(f"{where}: `special` replaces `compare`; leave `compare` out.")
    seconds = _read_positive(record, "time_limit_s", 10.0, where)
    memory = _read_positive(record, "memory_limit_mb", 512, where)
    if memory < 1:
        raise UserError(f"{where}: `memory_limit_mb` must be 1 or more.")
    limits = Limits(cpu_s=seconds, wall_s=derive_wall_limit(seconds), memory_mb=int(memory))
    return ProgramTask("call" if mode == "call" else "stdin", tests, entry_point, limits, compare, special)


def _read_tests(record: Mapping[str, Any], field: str, mode: str, where: str) -> Iterator[Test]:
    input_field, output_field = _TEST_FIELDS[mode]
    cases: list[Any] = _require_field(record, field, list, where) if record.get(field) else []
    for number, case in enumerate(cases):
        place = f"{where}: `{field}` {number}"
        if not isinstance(case, dict) or input_field not in case or output_field not in case:
            raise UserError(f"{place} needs `{input_field}` and `{output_field}`.")
        fields = cast(dict[str, Any], case)
        test = Test(_require_field(fields, input_field, str if mode == "stdin" else list, place), fields[output_field])
        try:
            if mode == "stdin":
                (test.input + _require_field(fields, output_field, str, place)).encode()
            wire.encode([test.input, test.output])
        except (UnicodeEncodeError, wire.Foreign) as error:
            raise UserError(f"{place} cannot be sent to a program: {error}.") from error
        yield test


def read_programs(
    lines: Iterator[tuple[str, dict[str, Any]]], problems: Mapping[str, JudgeProblem], done: Mapping[str, str]
) -> Iterator[Program]:
    """Yields each program that has no verdict yet, and each program that has changed since its verdict. `done`: the
    digests of the programs that have a verdict. Raises `UserError` if the problem of a program is unknown, or if a
    program occurs twice."""
    names: set[str] = set()
    for where, record in lines:
        name = _require_field(record, "program_id", str, where)
        if name in names:
            raise UserError(f"{where}: the program {name!r} occurs twice.")
        names.add(name)
        problem_id = _require_field(record, "problem_id", str, where)
        if problem_id not in problems:
            raise UserError(f"{where}: there is no problem {problem_id!r}.")
        source, problem = _require_field(record, "source", str, where), problems[problem_id]
        program = Program(name, *problem.prepare(source), digest_texts(problem.digest, source))
        if name not in done or done[name] not in ("", program.digest):
            yield program


def digest_texts(*parts: str) -> str:
    """Returns the digest of texts, such as a problem and a program. If this digest has changed since the verdict, the
    program is judged again."""
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:16]


def read_verdicts(path: Path) -> dict[str, str]:
    """Returns the digest of each program that has a verdict in the file ("" if the digest is not known). Ignores
    verdicts with the outcome `error`, and an incomplete last line. Raises `UserError` if any other line is not a
    verdict."""
    if not path.exists():
        return {}
    try:
        whole, _, rest = path.read_bytes().rpartition(b"\n")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Name another file.") from error
    if not whole and not _VERDICT_START.startswith(rest[: len(_VERDICT_START)]):
        raise UserError(f"{path}:1 is not a verdict: name another file.")
    digests: dict[str, str] = {}
    for number, line in enumerate(whole.split(b"\n"), 1):
        if line.strip():
            row = parse_json(line, f"{path}:{number} is not a verdict")
            if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("program_id", "verdict")):
                raise UserError(f"{path}:{number} is not a verdict: name another file.")
            if row["verdict"] != "error":
                digests[row["program_id"]] = str(row.get("digest", ""))
    return digests


def drop_verdicts(path: Path, names: Container[str]) -> None:
    """Removes the verdicts on the programs in `names` from the file. Also removes an incomplete last line."""
    if not path.exists():
        return
    data = path.read_bytes()
    lines = [line for line in data[: data.rfind(b"\n") + 1].split(b"\n") if line.strip()]
    kept = b"".join(line + b"\n" for line in lines if json.loads(line)["program_id"] not in names)
    if kept != data:
        new = path.with_name(f".{path.name}.new")
        new.write_bytes(kept)
        new.replace(path)


def format_verdict(program: Program, verdict: Verdict) -> str:
    record: dict[str, Any] = {"program_id": program.id, "verdict": verdict.outcome, "passed": sum(verdict.passed)}
    record |= {"tests": len(verdict.passed), "digest": program.digest, "detail": dict(verdict.detail)}
    return json.dumps(record) + "\n"


def _require_field(record: Mapping[str, Any], field: str, kind: type, where: str) -> Any:
    """Returns a field that must exist and have this type. Raises `UserError` if the field is missing or has another type."""
    value = record.get(field)
    if not isinstance(value, kind):
        raise UserError(f"{where}: `{field}` must be {'text' if kind is str else 'a list'}.")
    return value


def _read_positive(record: Mapping[str, Any], field: str, default: float, where: str) -> float:
    value = record.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise UserError(f"{where}: `{field}` must be a number above 0.")
    return value
