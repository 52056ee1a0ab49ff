"""What testbeds whose answers are programs have in common: how the programs are run."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Annotated

from pydantic import Field

from preflab.sandbox.judging import SandboxJudge
from preflab.sandbox.limits import Limits, derive_wall_limit, measure_machine_factor
from preflab.testbeds.base import TestbedSpec


class Sandboxed(TestbedSpec):
    """`time_limit_s`, `memory_limit_mb`: for a test; the time is multiplied by how much slower this machine is than the one
    that it was chosen on. `workers`: programs judged at once, 0 for one a core; `backend`: the sandbox; `packages`: what
    programs may import beside the standard library, NumPy and sortedcontainers. `every`: tests go on after the first failure,
    which a reward by the share of tests needs.
    """

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
        """The limits of a test. A problem may state another time, and more memory; 0 where it does not."""
        seconds = (seconds or self.time_limit_s) * measure_machine_factor()
        return Limits(cpu_s=seconds, wall_s=derive_wall_limit(seconds), memory_mb=max(self.memory_limit_mb, memory_mb))

    def list_caveats(self) -> list[str]:
        """What every report on these programs must say."""
        return ["Programs were judged without walls around them (backend bare)."] if self.backend == "bare" else []

    @contextmanager
    def open_judge(self) -> Generator[SandboxJudge]:
        """The judge of programs, open."""
        with closing(SandboxJudge(self.workers, self.backend, self.packages, every=self.every)) as judge:
            yield judge
