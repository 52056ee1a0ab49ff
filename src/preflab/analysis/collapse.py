"""Counts the collapsed runs of an arm, and computes the mean score of the runs that did not collapse. Does not import
torch.

If some runs of an arm fail, the mean over all runs mixes two quantities: how often training fails, and how good the
policy is after a successful training. The interval of this mean contains the true mean too rarely (see
docs/statistics.md). This module therefore measures the two quantities separately.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from preflab.analysis.intervals import exact_ends
from preflab.analysis.record import Collapse, DecodingChoice, Interval, Measure
from preflab.analysis.scores import Scores
from preflab.analysis.statistics import ALPHA, mean_interval


def collapse_rule(share: float, headline: Measure) -> str:
    """Returns a sentence that defines a collapsed run. A diverged run has collapsed. If the headline measure is a share
    (such as pass@1), a run has also collapsed if the run's value of this measure is below `share` times the value of
    the run's starting policy."""
    if not headline.share:
        return "A run has collapsed if it diverged."
    return (
        f"A run has collapsed if it diverged, or if its {headline.name} at temperature 1 is below {share:.0%} of the "
        f"{headline.name} of its starting policy under the same seed."
    )


def collapsed_seeds(arm: Scores, starts: Sequence[Scores], share: float) -> tuple[int, ...]:
    """Returns the seeds of the collapsed runs of an arm. A diverged run has collapsed. A run has also collapsed if its
    mean score is below a limit, which is `share` times the mean score of the starting policy under the same seed. If
    there are several starting policies, the lowest of their limits applies. All scores are measured at temperature 1.
    `starts`: the scores of the starting policies. A starting policy without a score under a seed is ignored for this
    seed."""
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
    """Returns the share of an arm's runs that collapsed, with Clopper and Pearson's interval. Also returns the mean score
    of the runs that did not collapse, for each decoding setting (such as greedy, or sampling at temperature 1). `seeds`:
    the seeds of all runs. `collapsed`: the seeds of the collapsed runs. `tables`: the arm's scores for each decoding
    setting. `compared`: True if the runs were compared with their starting policies."""
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
    """Returns a score table that contains only the rows of `seeds`. Requires that no run under these seeds diverged."""
    return Scores(table.table(seeds, table.problems), tuple(seeds), table.problems, as_is=table.as_is)
