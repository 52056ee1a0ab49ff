"""Stores on disk whether an empty program passes the tests of a problem. The key of a stored result is a digest of the
tests."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from preflab.paths import cache_directory
from preflab.sandbox.answer import Recipe
from preflab.sandbox.judging import SandboxJudge
from preflab.types import Test

_FILE = "empty-programs.txt"
_LINE = re.compile(r"([0-9a-f]{64}) ([01])")
_FORM = 1  # increase this number if a change of the judge changes verdicts on the empty program


class StubMemory:
    """The stored results of this user's runs. `passed`: maps a digest of tests to whether the empty program passes
    these tests. Each new result is appended to a file as one line, so that several processes can write at the same
    time. If the file cannot be read or written, preflab runs the empty programs again and gets the same results."""

    def __init__(self) -> None:
        self._path: Path = cache_directory() / _FILE
        self.passed: dict[str, bool] = {}
        with contextlib.suppress(OSError):
            lines = self._path.read_text(encoding="ascii", errors="replace").splitlines()
            self.passed = {match[1]: match[2] == "1" for match in map(_LINE.fullmatch, lines) if match}

    def add(self, passed: Mapping[str, bool]) -> None:
        """Stores new results, in memory and on disk."""
        self.passed |= passed
        if not passed:
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="ascii") as file:
                file.write("".join(f"{digest} {int(passes)}\n" for digest, passes in passed.items()))


def digest_tests(stub: str, tests: Sequence[Test], judge: SandboxJudge) -> str:
    """Returns a digest of the empty program, of the tests that judge it, and of the sandbox (backend and packages). The
    limits are not part of the digest, because the limits depend on the machine."""
    recipe: Recipe = tests[0].how
    task = recipe.task
    runs = (
        _FORM,
        judge.backend,
        sorted(judge.packages),
        stub,
        recipe.prefix,
        task.prelude,
        sorted(task.functions.items()),
    )
    cases = [(test.input, test.output) for test in tests]
    whole = repr((runs, task.mode, task.compare, task.special, task.compare_values, tuple(task.nodes), cases))
    return hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()
