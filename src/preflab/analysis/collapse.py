"""Counts the runs of an arm that collapsed, and measures the runs that did not. No torch.

If one run in ten ends far below the others, the mean of an arm mixes two questions: how often training fails, and how good
the policy is otherwise. The interval of such a mean contains the true mean too rarely (see docs/statistics.md). This
module therefore answers the two questions separately.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from preflab.analysis.intervals import exact_ends
from preflab.analysis.record import Collapse, DecodingChoice, Interval, Measure
from preflab.analysis.scores import Scores
from preflab.analysis.statistics import ALPHA, mean_interval


def collapse_rule(share: float, headline: Measure) -> str:
    """Writes the rule by which a run has collapsed. If the headline measure is not a share, only a diverged run has
    collapsed."""
    if not headline.share:
        return "A run has collapsed if it diverged."
    return (
        f"A run has collapsed if it diverged, or if its {headline.name} at temperature 1 is below {share:.0%} of that of the "
        "policy that it started from, under the same seed."
    )


def collapsed_seeds(arm: Scores, starts: Sequence[Scores], share: float) -> tuple[int, ...]:
    """Returns the seeds under which an arm collapsed. A run has collapsed if it diverged, or if its mean score is below
    `share` times the mean score of every starting policy that was measured under the same seed. All scores are at
    temperature 1. `starts`: the scores of these starting policies."""
    means = dict(zip(arm.seeds, arm.values.mean(axis=1), strict=True))
    known = [dict(zip(start.seeds, start.values.mean(axis=1), strict=True)) for start in starts]

    def fell(seed: int) -> bool:
        floors = [share * start[seed] for start in known if seed in start]
        return bool(floors) and means[seed] < min(floors)

    return tuple(seed for seed in arm.seeds if seed in arm.diverged or fell(seed))


def measure_collapse(
    seeds: Sequence[int],
    collapsed: Sequence[int],
    tables: Mapping[DecodingChoice, Scores],
    headline: Measure,
    *,
    compared: bool,
) -> Collapse:
    """Returns how often an arm collapsed among its `seeds`, with Clopper and Pearson's interval. Also returns
    the mean score of the runs that did not collapse, at each decoding. `tables`: the arm's scores at each decoding.
    `compared`: whether the runs were compared with the policy that they started from."""
    rate = len(collapsed) / len(seeds)
    low, high = exact_ends(rate, len(seeds), ALPHA)
    kept = [seed for seed in seeds if seed not in collapsed]
    means: dict[DecodingChoice, Interval] = {}
    if kept:
        scores: dict[DecodingChoice, Scores] = {
            decoding: select_seeds(table, kept) for decoding, table in tables.items()
        }
        means = {decoding: mean_interval(table).within(*headline.range) for decoding, table in scores.items()}
    interval = Interval(estimate=rate, low=low, high=high, seeds=len(seeds))
    return Collapse(seeds=tuple(collapsed), rate=interval, means=means, compared=compared)


def select_seeds(table: Scores, seeds: Sequence[int]) -> Scores:
    """Returns an arm's scores under these seeds alone. No run under these seeds may have diverged."""
    return Scores(table.table(seeds, table.problems), tuple(seeds), table.problems, as_is=table.as_is)
