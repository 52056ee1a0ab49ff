"""How well learned scorers (reward models, evaluators) order pairs that they did not train on. No torch."""

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
    """What a stage's finished runs wrote, by seed."""
    places = [directory / f"seed-{seed}" / STAGES / stage for seed in range(seeds)]
    return [read_result(place, {}) for place in places if (place / RESULT).exists()]


def reward_model_result(name: str, results: Sequence[Mapping[str, Any]]) -> RewardModelResult | None:
    """One stage's reward models, measured on held-out pairs where the testbed has some in its test split, else on the
    validation pairs, which chose their checkpoints. None where nothing was measured, or the stage trained something else."""
    results = [result for result in results if result.get("product") == "reward_model"]
    rows, place = [result.get("held_out") for result in results], "the test split's pairs"
    if not all(rows):
        rows = [result.get("validation") for result in results]
        place = "the validation split's pairs, which chose its checkpoint too"
    return pooled_result(name, place, [row for row in rows if row]) if rows and all(rows) else None


def pooled_result(name: str, place: str, rows: Sequence[Mapping[str, Any]]) -> RewardModelResult:
    """One row a seed: means over seeds; bins hold the pairs of all seeds."""
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
    """The number of the bin, of ten in [1/2, 1], that holds a mean stated probability; needed since empty bins are not
    written."""
    return min(int((row["stated"] - 0.5) * 20), 9)


def bins_by_place(
    rows: Sequence[Mapping[str, Any]], field: str, place_of: Callable[[int, Bin], int]
) -> list[list[Bin]]:
    """The bins of all seeds that belong together, in order."""
    placed = [(place_of(place, bins), bins) for row in rows for place, bins in enumerate(row.get(field) or ())]
    return [[bins for at, bins in placed if at == place] for place in sorted({at for at, _ in placed})]


def pooled_bin(bins: Sequence[Bin], *fields: str) -> dict[str, Any]:
    """The mean of each field over the bins' pairs, and their count."""
    count = int(sum(each["count"] for each in bins))
    return {"count": count} | {field: sum(each[field] * each["count"] for each in bins) / count for field in fields}


def pooled_accuracy(rows: Sequence[Mapping[str, Any]]) -> Interval | None:
    """The share of pairs ordered rightly, with Wilson's interval; None where the number of pairs is unknown."""
    pairs = sum(row.get("pairs") or 0 for row in rows)
    if not pairs:
        return None
    share = sum(row["accuracy"] * row["pairs"] for row in rows) / pairs
    # Seeds score the same pairs. Their pooled count would make the interval too narrow, so it counts one seed's pairs.
    low, high = wilson_interval(share, pairs / len(rows))
    return Interval(estimate=share, low=low, high=high)


def wilson_interval(share: float, count: float, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95% interval of a share of `count` trials (Wilson 1927)."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return centre - half, centre + half
