"""The schedule of a study on a cluster: order, limits, and the longest chain first."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from preflab.arm.planned import Planned
from preflab.study.forecast.schedule import busy_share, longest_chains, schedule


def run(name: str, *needs: str) -> Planned:
    return Planned(spec=cast(Any, None), directory=Path(name), needs=tuple(map(Path, needs)))


def paths(**values: float) -> dict[Path, Any]:
    return {Path(name): value for name, value in values.items()}


def test_the_longest_chain_starts_first() -> None:
    """One GPU. `sft` (1 s) has `ppo` (5 s) after it, a chain of 6 s; `alone` takes 3 s. `sft`, then `ppo`, then `alone`:
    9 s, and the GPU is never idle."""
    runs = [run("alone"), run("sft"), run("ppo", "sft")]
    seconds = paths(alone=3, sft=1, ppo=5)
    assert longest_chains(runs, seconds) == paths(alone=3, sft=6, ppo=5)
    slots = schedule(runs, seconds, paths(alone=1, sft=1, ppo=1), free=1)
    assert [(str(slot.run.directory), slot.start, slot.end) for slot in slots] == [
        ("sft", 0, 1),
        ("ppo", 1, 6),
        ("alone", 6, 9),
    ]
    assert busy_share(slots, 1) == 1.0


def test_a_large_run_does_not_hold_up_a_small_one() -> None:
    """Two GPUs. `large` needs both and waits for `sft`; `small` runs beside `sft`. Busy: (2 + 2 + 2 x 2) / (2 x 4)."""
    runs = [run("sft"), run("large", "sft"), run("small")]
    slots = schedule(runs, paths(sft=2, large=2, small=2), paths(sft=1, large=2, small=1), free=2)
    assert {str(slot.run.directory): slot.start for slot in slots} == {"sft": 0, "small": 0, "large": 2}
    assert busy_share(slots, 2) == 1.0


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(0, 9)), min_size=1, max_size=12))
def test_a_schedule_keeps_the_rules(jobs: list[tuple[int, int, int]]) -> None:
    """Every run has one slot, starts after the run that it needs has ended, and never more than 4 GPUs are in use."""
    runs = [run(str(i), *([str(need)] if need < i else [])) for i, (_, _, need) in enumerate(jobs)]
    seconds = {Path(str(i)): float(job[0]) for i, job in enumerate(jobs)}
    slots = schedule(runs, seconds, {Path(str(i)): job[1] for i, job in enumerate(jobs)}, free=4)
    ends = {slot.run.directory: slot.end for slot in slots}
    assert len(slots) == len(ends) == len(jobs)
    for slot in slots:
        assert all(ends[need] <= slot.start for need in slot.run.needs)
        assert sum(other.gpus for other in slots if other.start <= slot.start < other.end) <= 4
