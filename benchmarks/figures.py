"""From the repetitions of a result to its figures: rates, ratios, shares of a ceiling, and whether a row reaches its goal."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmarks.rows import ROWS, Row

RESULTS = Path(__file__).resolve().parent / "results"
OURS = "preflab"
STEADY = 0.9
"""A repetition is disturbed if its share of the processor is below this part of the side's best share."""
NEAR = 0.9
"""The share of a ceiling that is enough, whatever the goal."""
Clock = Literal["wall", "cpu"]


class SideFigure(NamedTuple):
    """`rates`: units a second, by wall seconds and by CPU seconds, each the mean of the fastest quarter of the steady
    repetitions. `spread`: how far the median lies below the rate. `share`: CPU seconds as a share of the wall seconds of all
    threads, in the steadiest repetition. `steady`: the number of repetitions that count."""

    rates: Mapping[Clock, float]
    spread: float
    share: float
    steady: int
    memory: int


@dataclass(frozen=True)
class Figure:
    """One line of the table. `clock`: whose seconds decide. `value`: what the goal is compared with. `ratio`: how many times
    as fast as the peer, by both clocks. `near`: the share of the fastest ceiling. `limit`: the value at that ceiling."""

    row: Row
    result: Mapping[str, Any]
    machine: Mapping[str, Any]
    sides: Mapping[str, SideFigure]
    clock: Clock
    value: float
    ratio: Mapping[Clock, float] | None
    ceiling: str
    near: float
    limit: float

    @property
    def goal(self) -> float:
        """The row's goal, or .9 of the limit where the goal lies above the limit."""
        return self.row.goal if self.row.goal <= self.limit else NEAR * self.limit

    @property
    def reached(self) -> bool:
        return self.value >= self.row.goal or self.near >= NEAR

    @property
    def memory(self) -> float | None:
        """The peak memory as a share of that of the peer's default plan; None without a peer."""
        if self.row.peer is None:
            return None
        return self.sides[OURS].memory / self.sides[f"{self.row.peer}, default"].memory

    @property
    def memory_reached(self) -> bool:
        return self.row.memory is None or self.memory is None or self.memory <= self.row.memory


def share_of(repetition: Mapping[str, float], threads: int) -> float:
    """CPU seconds as a share of the wall seconds of all threads."""
    return repetition["cpu"] / (repetition["seconds"] * threads)


def side_figure(side: Mapping[str, Any], threads: int) -> SideFigure:
    done: list[Mapping[str, float]] = side["repetitions"]
    best = max(share_of(each, threads) for each in done)
    steady = [each for each in done if share_of(each, threads) >= STEADY * best]
    walls, cpus = ([each["work"] / each[key] for each in steady] for key in ("seconds", "cpu"))
    rates: dict[Clock, float] = {"wall": fastest_quarter(walls), "cpu": fastest_quarter(cpus)}
    return SideFigure(rates, 1 - statistics.median(walls) / rates["wall"], best, len(steady), side["memory"])


def fastest_quarter(rates: Sequence[float]) -> float:
    """The mean of the highest quarter of the rates, at least one of them."""
    return statistics.fmean(sorted(rates, reverse=True)[: math.ceil(len(rates) / 4)])


def deciding_clock(sides: Iterable[SideFigure], threads: int) -> Clock:
    """CPU seconds decide where a side of one thread never had a core alone; with two threads they count waiting too."""
    return "cpu" if threads == 1 and any(side.share < STEADY for side in sides) else "wall"


def figure_of(row: Row, result: Mapping[str, Any], machine: Mapping[str, Any]) -> Figure:
    sides = {name: side_figure(side, result["threads"]) for name, side in result["sides"].items()}
    peer, ours = result["peer"], sides[OURS]
    counted = [ours, *(sides[name] for name in (peer, *result["ceilings"]) if name)]
    clock = deciding_clock(counted, result["threads"])
    ceiling = max(result["ceilings"], key=lambda name: sides[name].rates[clock])
    near, top = ours.rates[clock] / sides[ceiling].rates[clock], sides[ceiling].rates[clock]
    ratio = None
    if peer is not None:
        rates = sides[peer].rates
        ratio: dict[Clock, float] | None = {
            "wall": ours.rates["wall"] / rates["wall"],
            "cpu": ours.rates["cpu"] / rates["cpu"],
        }
    against = {"rate": 1.0, "peer": sides[peer].rates[clock] if peer else 1.0}
    base = against.get(row.against) or sides[row.against].rates[clock]
    return Figure(row, result, machine, sides, clock, ours.rates[clock] / base, ratio, ceiling, near, top / base)


def read_figures(folder: Path = RESULTS) -> list[Figure]:
    """Returns the newest figure of each row at each number of threads, in the order of the rows."""
    newest: dict[tuple[str, int], Figure] = {}
    known = {row.name: row for row in ROWS}
    for path in sorted(folder.glob("bench-*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        for result in run["results"]:
            if result["row"] in known:
                key = result["row"], result["threads"]
                newest[key] = figure_of(known[result["row"]], result, run["machine"])
    return [newest[row.name, threads] for row in ROWS for threads in (1, 2) if (row.name, threads) in newest]
