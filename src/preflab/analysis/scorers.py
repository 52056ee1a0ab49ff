"""Learned scorers (the evaluator, reward models) and how far held-out pairs say they can be trusted. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from preflab.analysis.gather import mean
from preflab.analysis.record import results as report
from preflab.arm.spec import STAGES
from preflab.spec import Spec
from preflab.study.spec import Study, evaluator_stage
from preflab.train.files import read_json


def evaluator_of(study: Study, directory: Path) -> report.Evaluator:
    """The evaluator; a learned one with its accuracy on held-out pairs (Wilson interval, the seeds' pairs pooled) and
    whether that excludes one half."""
    plain = report.Evaluator(name=study.evaluator.kind, description=one_line(study.evaluator))
    stage = evaluator_stage(study)
    found = [result["held_out"] for result in stage_results(study, directory, stage)] if stage is not None else []
    accuracy = pooled_accuracy(found) if found and all(found) else None
    if accuracy is None or accuracy.low is None:
        return plain
    return plain.model_copy(update={"accuracy": accuracy, "can_rank": accuracy.low > 0.5})


def reward_models(study: Study, directory: Path) -> Iterator[report.RewardModel]:
    """Every stage that trained a reward model: its held-out pairs where the testbed has some in its test split, else the
    validation pairs, which chose its checkpoint."""
    for name in study.stages:
        results = [found for found in stage_results(study, directory, name) if found.get("product") == "reward_model"]
        rows, place = [found.get("held_out") for found in results], "the test split's pairs"
        if not all(rows):
            rows = [found.get("validation") for found in results]
            place = "the validation split's pairs, which chose its checkpoint too"
        known = [row for row in rows if row]
        if known and len(known) == len(rows):
            yield reward_model(name, place, known)


def reward_model(name: str, place: str, rows: Sequence[Mapping[str, Any]]) -> report.RewardModel:
    """One stage's models, one row a seed: means over seeds; bins hold the pairs of all seeds."""
    return report.RewardModel(
        name=name,
        measured_on=place,
        seeds=len(rows),
        pairs=rows[0].get("pairs"),
        accuracy=pooled_accuracy(rows) or report.Interval(estimate=mean([row["accuracy"] for row in rows])),
        loss=mean([row["loss"] for row in rows]),
        calibration_error=mean([row["calibration_error"] for row in rows]),
        reliability=tuple(
            report.Reliability(stated=weighted(bins, "stated"), right=weighted(bins, "right"), count=total(bins))
            for bins in by_place(rows, "reliability", stated_bin)
        ),
        by_margin=tuple(
            report.ByMargin(
                low=weighted(bins, "low"),
                high=weighted(bins, "high"),
                accuracy=weighted(bins, "accuracy"),
                count=total(bins),
            )
            for bins in by_place(rows, "by_margin", lambda place, _: place)
        ),
    )


def stated_bin(place: int, found: Mapping[str, Any]) -> int:
    """Which of the ten bins of [1/2, 1] a mean stated probability lies in: empty bins are not written."""
    return min(int((found["stated"] - 0.5) * 20), 9)


def by_place(
    rows: Sequence[Mapping[str, Any]], field: str, place_of: Callable[[int, Mapping[str, Any]], int]
) -> list[list[Mapping[str, Any]]]:
    """The bins of all seeds that belong together, in order."""
    found = [(place_of(place, bins), bins) for row in rows for place, bins in enumerate(row.get(field) or ())]
    return [[bins for at, bins in found if at == place] for place in sorted({at for at, _ in found})]


def weighted(bins: Sequence[Mapping[str, Any]], field: str) -> float:
    """Mean over the bins' pairs."""
    return float(sum(found[field] * found["count"] for found in bins) / total(bins))


def total(bins: Sequence[Mapping[str, Any]]) -> int:
    return int(sum(found["count"] for found in bins))


def stage_results(study: Study, directory: Path, stage: str) -> list[dict[str, Any]]:
    """What a stage's finished runs wrote, by seed."""
    paths = [directory / f"seed-{seed}" / STAGES / stage / "result.json" for seed in range(study.seeds)]
    return [read_json(path) for path in paths if path.exists()]


def pooled_accuracy(rows: Sequence[Mapping[str, Any]]) -> report.Interval | None:
    """The share of pairs ordered rightly, with Wilson's interval; None where the number of pairs is unknown."""
    pairs = sum(row.get("pairs") or 0 for row in rows)
    if not pairs:
        return None
    right = sum(row["accuracy"] * row["pairs"] for row in rows)
    # Seeds score the same pairs: their pooled count would be too sure, so the interval has one seed's pairs.
    low, high = wilson(right / pairs, pairs / len(rows))
    return report.Interval(estimate=right / pairs, low=low, high=high)


def wilson(share: float, count: float, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95% interval of a share of `count` trials (Wilson 1927)."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return centre - half, centre + half


def one_line(spec: Spec) -> str:
    """The first paragraph of a spec's docstring."""
    return " ".join((type(spec).__doc__ or "").split("\n\n")[0].split())
