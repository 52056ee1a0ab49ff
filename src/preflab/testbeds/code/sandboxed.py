"""Defines the sandbox settings that all testbeds with programs as answers have in common."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Annotated

from pydantic import Field

from preflab.sandbox.judging import SandboxJudge
from preflab.sandbox.limits import Limits, derive_wall_limit, measure_machine_factor
from preflab.testbeds.base import TestbedSpec


class Sandboxed(TestbedSpec):
    """Settings for running programs in the sandbox. `time_limit_s`, `memory_limit_mb`: the limits for one test. The
    time limit is multiplied by a factor that is larger on slower machines (see `measure_machine_factor`). `workers`:
    the number of programs that are judged at the same time; 0 means one per core. `backend`: the name of the sandbox
    backend. `packages`: the packages that programs can import in addition to the standard library, NumPy and
    sortedcontainers. `every`: whether the remaining tests run after the first failure. If the reward is the fraction of
    passed tests, `every` must be true."""

    time_limit_s: Annotated[float, Field(gt=0)] = 5.0
    memory_limit_mb: Annotated[int, Field(ge=64)] = 1024
    workers: Annotated[int, Field(ge=0)] = 0
    backend: str = "bubblewrap"
    packages: tuple[str, ...] = ()
    every: bool = False

    @property
    def language(self) -> str:
        return "python"

    def make_limits(self, seconds: float = 0.0, memory_mb: int = 0) -> Limits:
        """Returns the limits of a test. `seconds`, `memory_mb`: the limits in the data of the problem, or 0 if the data
        have no limit. A time limit in the data replaces the testbed's time limit. The larger of the two memory limits
        applies."""
        seconds = (seconds or self.time_limit_s) * measure_machine_factor()
        return Limits(cpu_s=seconds, wall_s=derive_wall_limit(seconds), memory_mb=max(self.memory_limit_mb, memory_mb))

    def list_caveats(self) -> list[str]:
        """Returns the notes that every report must print if its programs were judged with these settings."""
        return ["Programs were judged without walls (backend bare, no isolation)."] if self.backend == "bare" else []

    @contextmanager
    def open_judge(self) -> Generator[SandboxJudge]:
        """Yields a judge of programs, and closes the judge at the end of the context."""
        with closing(SandboxJudge(self.workers, self.backend, self.packages, every=self.every)) as judge:
            yield judge
