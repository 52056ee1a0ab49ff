"""Runs one row: preflab, the plans of its peer and the ceilings take turns, repetition by repetition."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.figures import OURS, deciding_clock, side_figure
from benchmarks.inputs import write_inputs, write_trained_tiny
from benchmarks.rows import MODULES, Row
from benchmarks.side import Side, python_of

PLAN_REPEATS = 2
"""After so many repetitions of every plan, only the best plan goes on."""
RATE = 3e-4
"""The learning rate of both sides: large enough that five losses tell two trainings apart."""
TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}
SHARED = ("order", "shapes", "drawn", "asked", "work")
"""What the ceilings and the peers are told of preflab's own run."""


def measure_row(row: Row, threads: int, repeats: int, place: Path) -> dict[str, Any]:
    """Returns the repetitions of every side. `place`: an empty folder for the inputs."""
    if row.kind.endswith("tiny"):
        write_trained_tiny(row.size["train"], place)
    else:
        write_inputs(row.size, place)
    base = {**row.size, "kind": row.kind, "precision": row.precision, "inputs": str(place), "rate": RATE}
    with ExitStack() as stack:

        def start(name: str, module: str, python: str) -> Side:
            log = place / f"{len(list(place.glob('*.log')))}.log"
            side = Side(name, module, threads=threads, python=python, log=log)
            stack.callback(side.close)
            return side

        ours = start(OURS, "ours", python_of(None))
        first = ours.warm_up(base)
        base |= {key: first[key] for key in SHARED if key in first}
        plans: list[Side] = []
        agreement: dict[str, list[float]] = {OURS: first.get("agree", [])}
        for plan, settings in row.plans.items():
            assert row.peer is not None
            side = start(f"{row.peer}, {plan}", MODULES[row.peer], python_of(row.peer))
            agreement[side.name] = side.warm_up({**base, "plan": settings})["agree"]
            require_agreement(agreement, TOLERANCE[row.precision])
            plans.append(side)
        ceilings: list[Side] = []
        for ceiling in row.ceilings:
            ceilings.append(start(ceiling, "parts", python_of(None)))
            ceilings[-1].warm_up({**base, "ceiling": ceiling})
        sides = [ours, *plans, *ceilings]
        for number in range(repeats):
            if number == PLAN_REPEATS:
                sides = [ours, *best_of(plans), *ceilings]
            turn = number % len(sides)
            for side in sides[turn:] + sides[:turn]:
                side.repeat()
            say(row, threads, number, sides)
        return {
            "row": row.name,
            "threads": threads,
            "peer": best_of(plans)[0].name if plans else None,
            "ceilings": list(row.ceilings),
            "agreement": agreement,
            "sides": {side.name: side.record() for side in (ours, *plans, *ceilings)},
        }


def best_of(plans: Sequence[Side]) -> list[Side]:
    """The plan with the highest rate, as a list; empty if there is no plan."""
    figures = {plan: side_figure(plan.record(), plan.threads) for plan in plans}
    clock = deciding_clock(figures.values(), plans[0].threads) if plans else "wall"
    return sorted(plans, key=lambda plan: -figures[plan].rates[clock])[:1]


def require_agreement(values: Mapping[str, Sequence[float]], tolerance: float) -> None:
    """Raises `RuntimeError` if the last side's losses, or log-probabilities, are not those of preflab."""
    (_, ours), *_, (name, theirs) = values.items()
    pairs = list(zip(ours, theirs, strict=True))
    worst = max(abs(mine - other) / abs(other) for mine, other in pairs)
    if not worst <= tolerance:
        raise RuntimeError(f"{name} does not compute what preflab computes: {pairs} differ by {worst:.1e}.")


def say(row: Row, threads: int, number: int, sides: Sequence[Side]) -> None:
    """Prints the repetition that has just been made: wall and CPU seconds of every side."""
    last = [(side.name, side.repetitions[-1]) for side in sides]
    times = "; ".join(f"{name} {done['seconds']:.2f} s (CPU {done['cpu']:.2f})" for name, done in last)
    print(f"{row.name}, {threads} thread(s), repetition {number + 1}: {times}", file=sys.stderr, flush=True)
