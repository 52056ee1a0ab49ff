"""Summarises how well reward models and learned evaluators order pairs that they were not trained on. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from preflab.analysis.gather import mean
from preflab.analysis.record import Interval, MarginBin, ReliabilityBin, RewardModelResult
from preflab.arm.spec import STAGES
from preflab.methods.spec import SCORERS
from preflab.train.directory import RESULT
from preflab.train.finished import read_result

Bin = Mapping[str, Any]


def stage_results(directory: Path, stage: str, seeds: Iterable[int]) -> list[dict[str, Any]]:
    """Returns the results of a stage's finished runs under these seeds, in the order of the seeds."""
    places = [directory / f"seed-{seed}" / STAGES / stage for seed in seeds]
    return [read_result(place, {}) for place in places if (place / RESULT).exists()]


def reward_model_result(name: str, results: Sequence[Mapping[str, Any]]) -> RewardModelResult | None:
    """Returns the result of one stage's reward models. Returns None if nothing was measured, or if the stage did not
    train reward models."""
    rows, place = rows_on_pairs([result for result in results if result.get("product") in SCORERS])
    return pooled_result(name, place, rows) if rows else None


def rows_on_pairs(results: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], str]:
    """Returns the measurements of reward models on pairs that they were not trained on, one for each result, and says
    in words which pairs these are.

    They are the pairs of the test split. If the test split has no pairs, they are the validation pairs, by which the
    checkpoints were also chosen. Returns [] if a result has no measurement.
    """
    places = {
        "held_out": "the test split's pairs",
        "validation": "the validation split's pairs, which also chose its checkpoint",
    }
    for key, place in places.items():
        rows = [row for result in results if (row := result.get(key))]
        if len(rows) == len(results):
            return rows, place
    return [], ""


def pooled_result(name: str, place: str, rows: Sequence[Mapping[str, Any]]) -> RewardModelResult:
    """Combines the rows of all seeds, one row for each seed, into one result. Its numbers are means over seeds, and its
    bins contain the pairs of all seeds."""
    reliability = bins_by_place(rows, "reliability", stated_place)
    by_margin = bins_by_place(rows, "by_margin", lambda place, _: place)
    return RewardModelResult(
        name=name,
        measured_on=place,
        seeds=len(rows),
        pairs=rows[0].get("pairs"),
        accuracy=pooled_accuracy(rows) or Interval(estimate=mean([row["accuracy"] for row in rows])),
        sign_accuracy=pooled_accuracy(rows, "sign_accuracy"),
        loss=mean([row["loss"] for row in rows]),
        calibration_error=mean([row["calibration_error"] for row in rows]),
        reliability=tuple(ReliabilityBin(**pooled_bin(bins, "stated", "right")) for bins in reliability),
        by_margin=tuple(MarginBin(**pooled_bin(bins, "low", "high", "accuracy")) for bins in by_margin),
    )


def stated_place(place: int, row: Bin) -> int:
    """Returns the index of the bin that contains the row's mean stated probability, among ten bins in [1/2, 1]. The
    index is computed because empty bins have no row."""
    return min(int((row["stated"] - 0.5) * 20), 9)


def bins_by_place(
    rows: Sequence[Mapping[str, Any]], field: str, place_of: Callable[[int, Bin], int]
) -> list[list[Bin]]:
    """Groups the bins of all seeds by bin index, in rising order."""
    placed = [(place_of(place, bins), bins) for row in rows for place, bins in enumerate(row.get(field) or ())]
    return [[bins for at, bins in placed if at == place] for place in sorted({at for at, _ in placed})]


def pooled_bin(bins: Sequence[Bin], *fields: str) -> dict[str, Any]:
    """Returns the mean of each field over the pairs of all bins, and the number of these pairs."""
    count = int(sum(each["count"] for each in bins))
    return {"count": count} | {field: sum(each[field] * each["count"] for each in bins) / count for field in fields}


def pooled_accuracy(rows: Sequence[Mapping[str, Any]], name: str = "accuracy") -> Interval | None:
    """Returns a share of pairs with Wilson's interval. `name`: the name of the share; `accuracy` is the share of
    correctly ordered pairs. Returns None if a row does not have the share, or if the number of pairs is unknown."""
    if not all(name in row for row in rows):
        return None
    pairs = sum(row.get("pairs") or 0 for row in rows)
    if not pairs:
        return None
    share = sum(row[name] * row["pairs"] for row in rows) / pairs
    # All seeds score the same pairs. Pooled counts would make the interval too narrow, so the pairs of one seed are
    # counted.
    low, high = wilson_interval(share, pairs / len(rows))
    return Interval(estimate=share, low=low, high=high)


def wilson_interval(share: float, count: float, z: float = 1.959964) -> tuple[float, float]:
    """Returns Wilson's confidence interval (95% with the default `z`) for a share observed in `count` trials (Wilson
    1927)."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return centre - half, centre + half
