"""Sums up how well learned scorers (reward models, evaluators) order pairs that they did not train on. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from preflab.analysis.gather import mean
from preflab.analysis.record import Interval, MarginBin, ReliabilityBin, RewardModelResult
from preflab.arm.spec import STAGES
from preflab.train.directory import RESULT
from preflab.train.finished import read_result

Bin = Mapping[str, Any]


def stage_results(directory: Path, stage: str, seeds: int) -> list[dict[str, Any]]:
    """Returns the results that a stage's finished runs wrote, ordered by seed."""
    places = [directory / f"seed-{seed}" / STAGES / stage for seed in range(seeds)]
    return [read_result(place, {}) for place in places if (place / RESULT).exists()]


def reward_model_result(name: str, results: Sequence[Mapping[str, Any]]) -> RewardModelResult | None:
    """Returns the result of one stage's reward models. If the testbed has pairs in its test split, the models are measured
    on these held-out pairs, otherwise on the validation pairs, by which their checkpoints were chosen. None if nothing was
    measured, or if the stage did not train reward models."""
    results = [result for result in results if result.get("product") == "reward_model"]
    rows, place = [result.get("held_out") for result in results], "the test split's pairs"
    if not all(rows):
        rows = [result.get("validation") for result in results]
        place = "the validation split's pairs, which chose its checkpoint too"
    return pooled_result(name, place, [row for row in rows if row]) if rows and all(rows) else None


def pooled_result(name: str, place: str, rows: Sequence[Mapping[str, Any]]) -> RewardModelResult:
    """Pools the rows of all seeds, one row per seed, into one result. Its numbers are means over seeds, and its bins hold
    the pairs of all seeds."""
    reliability = bins_by_place(rows, "reliability", stated_place)
    by_margin = bins_by_place(rows, "by_margin", lambda place, _: place)
    return RewardModelResult(
        name=name,
        measured_on=place,
        seeds=len(rows),
        pairs=rows[0].get("pairs"),
        accuracy=pooled_accuracy(rows) or Interval(estimate=mean([row["accuracy"] for row in rows])),
        loss=mean([row["loss"] for row in rows]),
        calibration_error=mean([row["calibration_error"] for row in rows]),
        reliability=tuple(ReliabilityBin(**pooled_bin(bins, "stated", "right")) for bins in reliability),
        by_margin=tuple(MarginBin(**pooled_bin(bins, "low", "high", "accuracy")) for bins in by_margin),
    )


def stated_place(place: int, row: Bin) -> int:
    """Returns the number of the bin that a row's mean stated probability belongs to, among ten bins in [1/2, 1]. The rows
    themselves do not show this number, because empty bins are not written."""
    return min(int((row["stated"] - 0.5) * 20), 9)


def bins_by_place(
    rows: Sequence[Mapping[str, Any]], field: str, place_of: Callable[[int, Bin], int]
) -> list[list[Bin]]:
    """Groups the bins of all seeds by their place, in the order of the places."""
    placed = [(place_of(place, bins), bins) for row in rows for place, bins in enumerate(row.get(field) or ())]
    return [[bins for at, bins in placed if at == place] for place in sorted({at for at, _ in placed})]


def pooled_bin(bins: Sequence[Bin], *fields: str) -> dict[str, Any]:
    """Returns the mean of each field over the pairs of all bins, and the number of these pairs."""
    count = int(sum(each["count"] for each in bins))
    return {"count": count} | {field: sum(each[field] * each["count"] for each in bins) / count for field in fields}


def pooled_accuracy(rows: Sequence[Mapping[str, Any]]) -> Interval | None:
    """Returns the share of pairs ordered rightly, with Wilson's interval. None if the number of pairs is unknown."""
    pairs = sum(row.get("pairs") or 0 for row in rows)
    if not pairs:
        return None
    share = sum(row["accuracy"] * row["pairs"] for row in rows) / pairs
    # All seeds score the same pairs, so the pooled count would make the interval too narrow: it counts one seed's pairs.
    low, high = wilson_interval(share, pairs / len(rows))
    return Interval(estimate=share, low=low, high=high)


def wilson_interval(share: float, count: float, z: float = 1.959964) -> tuple[float, float]:
    """Returns Wilson's interval (95% with the default `z`) of a share of `count` trials (Wilson 1927)."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return centre - half, centre + half
