"""The judge of a testbed's programs: answers in, verdicts out; it holds no tests and reaches no data."""

from __future__ import annotations

import ast
import contextlib
import hashlib
from collections.abc import Sequence

from preflab.errors import UserError
from preflab.sandbox.judge import Task
from preflab.sandbox.pool import Pool, Program, opened_pool
from preflab.testbeds.code.exercise import How
from preflab.testbeds.code.extract import extract
from preflab.types import Test, Verdict

STDIN = How(Task("stdin"))
KEPT = 20_000
"""Verdicts that are kept: policies repeat themselves."""
Asked = tuple[bytes, tuple[int, ...]]


class ProgramJudge:
    """Opened on its first use, since many who open a testbed judge nothing; closed with the testbed. `workers`: programs at
    once, 0 for one a core. `every`: tests go on after a failure."""

    deterministic = False  # near a limit of time or memory, a verdict depends on the machine

    def __init__(self, workers: int, backend: str, *, every: bool) -> None:
        self.workers, self.backend, self.every = workers, backend, every
        self.stack = contextlib.ExitStack()
        self.pool: Pool | None = None
        self.known: dict[Asked, tuple[Verdict, Sequence[Test]]] = {}

    def __call__(self, programs: Sequence[tuple[str, Sequence[Test]]]) -> list[Verdict]:
        """One verdict an answer; the same program against the same tests is run once. A failure of the machine is not kept."""
        asked = [question(text, tests) for text, tests in programs]
        kept = {key: tests for (key, _), (_, tests) in zip(asked, programs, strict=True)}
        new = {key: program for key, program in asked if key not in self.known}
        keys = {program.id: key for key, program in new.items()}
        found: dict[Asked, Verdict] = {}
        if new:
            self.pool = self.pool or self.stack.enter_context(opened_pool(self.workers, self.backend))
            found = {
                keys[program.id]: verdict for program, verdict in self.pool.judge(map(self._complete, new.values()))
            }
        self.known |= {key: (verdict, kept[key]) for key, verdict in found.items() if verdict.outcome != "error"}
        verdicts = [self.known[key][0] if key in self.known else found[key] for key, _ in asked]
        for key in [*self.known][: max(0, len(self.known) - KEPT)]:
            del self.known[key]
        return verdicts

    def _complete(self, program: Program) -> Program:
        return program._replace(task=program.task._replace(every=True)) if self.every else program

    def close(self) -> None:
        self.stack.close()


def question(text: str, tests: Sequence[Test]) -> tuple[Asked, Program]:
    """The program of an answer and what it is tested by, with a key that two equal ones share. Tests are known by what they
    are and not by what is in them: who keeps a key must keep its tests, or others may be born in their place."""
    if not tests:
        raise UserError("An answer was to be judged without a test: every program would pass.")
    how: How = tests[0].how or STDIN
    source = behind(how.prefix, extract(text, opening=how.opening, function=how.function))
    digest = hashlib.sha256(source.encode(errors="surrogatepass")).digest()
    key = digest, tuple(map(id, tests))
    return key, Program(f"{digest.hex()}-{hash(key)}", source, how.task._replace(tests=tests))


def behind(prefix: str, program: str) -> str:
    """The program with the prefix before it, what it imports from the future still first."""
    if not prefix or "__future__" not in program:
        return prefix + program
    try:
        nodes = [
            node for node in ast.parse(program).body if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        ]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return prefix + program
    lines = program.splitlines(keepends=True)
    for node in nodes:
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = "\n"
    return "\n".join([*map(ast.unparse, nodes), prefix, "".join(lines)])
