"""Summarises the accuracy of reward models and learned evaluators on pairs outside their training data. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from preflab.analysis.gather import mean
from preflab.analysis.record import Interval, MarginBin, ReliabilityBin, RewardModelResult
from preflab.arm.result import GapBin, PairMeasures, ScorerResult, StatedBin, TrainedResult
from preflab.arm.spec import STAGES
from preflab.train.directory import RESULT
from preflab.train.finished import ResultOf, read_result

Bin = TypeVar("Bin", StatedBin, GapBin)


def stage_results(directory: Path, stage: str, seeds: Iterable[int], record: type[ResultOf]) -> list[ResultOf]:
    """Returns the results of a stage's finished runs, in the order of `seeds`. `record`: the class from which each result
    is made."""
    places = [directory / f"seed-{seed}" / STAGES / stage for seed in seeds]
    return [read_result(place, record) for place in places if (place / RESULT).exists()]


def reward_model_result(name: str, results: Sequence[TrainedResult]) -> RewardModelResult | None:
    """Combines the results of the reward models that a stage trained. `results`: the results of the stage, one for each
    seed. Returns None if the stage did not train reward models, or if a reward model was not measured on pairs outside
    its training data."""
    rows, place = rows_on_pairs([result for result in results if isinstance(result, ScorerResult)])
    return pooled_result(name, place, rows) if rows else None


def rows_on_pairs(results: Sequence[ScorerResult]) -> tuple[list[PairMeasures], str]:
    """Returns the measurements of reward models on pairs outside their training data, one for each result. Also returns
    a description of these pairs.

    If every result has measurements on the test split, returns these. If not, but every result has measurements on the
    validation split, returns those, although the checkpoints were chosen on the validation split too. If neither split
    was measured by every result, returns [] and ''.
    """
    tested = [result.held_out for result in results if result.held_out is not None]
    if len(tested) == len(results):
        return tested, "the test split's pairs"
    validated = [result.validation for result in results if result.validation is not None]
    if len(validated) == len(results):
        return validated, "the validation split's pairs, on which its checkpoint was also chosen"
    return [], ""


def pooled_result(name: str, place: str, rows: Sequence[PairMeasures]) -> RewardModelResult:
    """Combines the measurements of all seeds into one result. The numbers of the result are means over seeds, and its
    bins contain the pairs of all seeds. `place`: a description of the pairs. `rows`: one measurement for each seed."""
    reliability = bins_by_place([row.reliability for row in rows], stated_place)
    by_margin = bins_by_place([row.by_margin for row in rows], lambda place, _: place)
    return RewardModelResult(
        name=name,
        measured_on=place,
        seeds=len(rows),
        pairs=rows[0].pairs,
        accuracy=pooled_accuracy(rows) or Interval(estimate=mean([row.accuracy for row in rows])),
        sign_accuracy=pooled_sign_accuracy(rows),
        loss=mean([row.loss for row in rows]),
        calibration_error=mean([row.calibration_error for row in rows]),
        reliability=tuple(ReliabilityBin(**pooled_bin(bins)) for bins in reliability),
        by_margin=tuple(MarginBin(**pooled_bin(bins)) for bins in by_margin),
    )


def stated_place(place: int, row: StatedBin) -> int:
    """Returns the index (0 to 9) of a reliability bin. The ten bins divide the range [1/2, 1] of predicted probabilities
    into equal parts. The index is computed from the bin's mean predicted probability (`row.stated`). The bin's position
    in its list (`place`) is not used, because the list leaves out empty bins."""
    return min(int((row.stated - 0.5) * 20), 9)


def bins_by_place(rows: Sequence[Sequence[Bin]], place_of: Callable[[int, Bin], int]) -> list[list[Bin]]:
    """Groups the bins of all seeds by bin index, in ascending order. `place_of`: computes the bin index of a bin."""
    placed = [(place_of(place, bins), bins) for row in rows for place, bins in enumerate(row)]
    return [[bins for at, bins in placed if at == place] for place in sorted({at for at, _ in placed})]


def pooled_bin(bins: Sequence[StatedBin] | Sequence[GapBin]) -> dict[str, Any]:
    """Merges bins into one. Returns the mean of each field, weighted by the bins' numbers of pairs, and the total number
    of pairs (`count`)."""
    rows = [dict(each) for each in bins]
    count = sum(row["count"] for row in rows)
    return {name: sum(row[name] * row["count"] for row in rows) / count for name in rows[0]} | {"count": count}


def pooled_accuracy(rows: Sequence[PairMeasures]) -> Interval | None:
    """Returns the share of correctly ordered pairs with Wilson's interval. Returns None if the number of pairs is
    unknown for at least one seed."""
    return pooled_share([(row.accuracy, row.pairs) for row in rows])


def pooled_sign_accuracy(rows: Sequence[PairMeasures]) -> Interval | None:
    """Returns the share of answers whose cost has the right sign, with Wilson's interval. Returns None if this share or
    the number of pairs is unknown for at least one seed."""
    return pooled_share([(row.sign_accuracy, row.pairs) for row in rows])


def pooled_share(shares: Sequence[tuple[float | None, int | None]]) -> Interval | None:
    """Returns the mean share over all seeds, weighted by the numbers of pairs, with Wilson's interval. `shares`: the
    share and the number of pairs for each seed. Returns None if a share or a number of pairs is unknown."""
    known = [(share, pairs) for share, pairs in shares if share is not None and pairs]
    if not known or len(known) < len(shares):
        return None
    pairs = sum(count for _, count in known)
    share = sum(each * count for each, count in known) / pairs
    # The models of all seeds score the same pairs, so the interval uses the number of pairs of one seed. The total number
    # would make the interval too narrow.
    low, high = wilson_interval(share, pairs / len(known))
    return Interval(estimate=share, low=low, high=high)


def wilson_interval(share: float, count: float, z: float = 1.959964) -> tuple[float, float]:
    """Returns the ends of Wilson's interval for a share of successes in `count` trials (Wilson 1927). The default `z`
    gives a 95% interval."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return centre - half, centre + half
