"""Computes when the runs of a study run on a cluster. This module does not import torch."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from preflab.arm.planned import Planned


@dataclass(frozen=True)
class Slot:
    """When a run runs. `gpus`: its number of GPUs. `start`, `end`: in seconds from the beginning of the study."""

    run: Planned
    gpus: int
    start: float
    end: float


def schedule(runs: Sequence[Planned], seconds: Mapping[Path, float], gpus: Mapping[Path, int], free: int) -> list[Slot]:
    """Returns when each run runs on a cluster of `free` GPUs. `seconds`, `gpus`: the duration and the GPUs of each run, by
    its directory.

    A run starts when the runs that it needs have ended and enough GPUs are free. Of several such runs, the one that the
    longest chain of work waits for starts first. A run that does not fit now does not hold up a smaller one.
    """
    chain = longest_chains(runs, seconds)
    waiting = sorted(runs, key=lambda run: -chain[run.directory])
    pending = {run.directory for run in runs}
    slots: list[Slot] = []
    ends: list[tuple[float, int]] = []  # the end and the index in `slots` of each run in progress
    clock = 0.0
    while waiting:
        for run in list(waiting):
            place = run.directory
            if gpus[place] <= free and pending.isdisjoint((*run.needs, *run.waits)):
                waiting.remove(run)
                free -= gpus[place]
                heapq.heappush(ends, (clock + seconds[place], len(slots)))
                slots.append(Slot(run, gpus[place], clock, clock + seconds[place]))
        clock, index = heapq.heappop(ends)
        free += slots[index].gpus
        pending.remove(slots[index].run.directory)
    return slots


def longest_chains(runs: Sequence[Planned], seconds: Mapping[Path, float]) -> dict[Path, float]:
    """Returns for each run the seconds of the longest chain of runs that begins with it and in which each run needs the
    one before it."""
    users: dict[Path, list[Path]] = {run.directory: [] for run in runs}
    for run in runs:
        for need in (*run.needs, *run.waits):
            if need in users:
                users[need].append(run.directory)
    chains: dict[Path, float] = {}

    def chain(place: Path) -> float:
        if place not in chains:
            chains[place] = seconds[place] + max(map(chain, users[place]), default=0.0)
        return chains[place]

    return {place: chain(place) for place in users}


def busy_share(slots: Sequence[Slot], gpus: int) -> float:
    """Returns the share of the cluster's GPU time, until the last run ends, in which a run uses the GPU."""
    last = max((slot.end for slot in slots), default=0.0)
    return sum(slot.gpus * (slot.end - slot.start) for slot in slots) / (gpus * last) if last else 0.0
