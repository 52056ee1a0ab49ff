"""Computes mean scores of arms, comparisons of two arms, and the winner of a study, with intervals. No torch.

The cells of two arms' `Scores` [seeds, problems] are paired, so two arms are compared by their difference in every
cell. Seeds and problems are both treated as random samples, from all possible runs and all possible problems.
`intervals.py` computes the intervals under this assumption. docs/statistics.md lists the measured coverage of the
intervals.

A verdict always agrees with its interval. With a margin m, "better" means that the whole interval lies above m, and
"worse" that the whole interval lies below -m. Every other interval means "not decided".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from preflab.analysis.intervals import Crossed, Floats, analyse, analyse_one_run, half_width, p_value
from preflab.analysis.record import Comparison, ComparisonVerdict, Interval
from preflab.analysis.scores import Scores, combined, share_seeds
from preflab.analysis.spread import cancels, no_spread, shows_too_little
from preflab.errors import UserError, nearest

ALPHA = 1 - 0.95
"""The probability that an interval does not contain the true value. For a family of intervals, the probability that at
least one interval does not contain its true value. Written as 1 - 0.95, which differs from 0.05 in the last bit."""
LOOK_SHARES = {1: (1.0,), 2: (0.4, 0.6), 3: (0.2, 0.3, 0.5)}
"""Maps the number of interim looks at a study's results to the share of alpha for each look. For example, with alpha .05
and three looks, the looks use .01, .015 and .025."""


AS_IT_IS = "one run of each policy: the interval is over problems alone, and says nothing about other training runs"
"""The remark on an interval for policies that were trained outside the study. Such an interval is not valid for other
training runs of the same methods."""


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The arm with the highest mean (`leader`), the arms that are not significantly worse than the leader
    (`contenders`), and the comparisons of the leader with other arms. An arm is also a contender if it has no seed in
    common with the leader."""

    leader: str
    contenders: tuple[str, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def decided(self) -> bool:
        """True if the leader is better than every other arm."""
        return bool(self.comparisons) and not self.contenders

    @property
    def preliminary(self) -> bool:
        return any(comparison.preliminary for comparison in self.comparisons)


def mean_interval(scores: Scores, *, family: float = 1.0) -> Interval:
    """Returns one arm's mean score over seeds and problems, with its interval. `family`: the number of simultaneous
    intervals for which this interval is adjusted (Bonferroni). To compare two arms, use `compare_scores`."""
    table = _analysed(scores.values, family, as_is=scores.as_is)
    return _interval(scores.values, table, family, len(scores.diverged))


def compare_scores(
    a: Scores, b: Scores, *, names: tuple[str, str] = ("a", "b"), margin: float = 0.0, family: float = 1.0
) -> Comparison:
    """Compares two arms by the difference `a` minus `b` in each cell. The cells are all problems under the common seeds
    of the two arms.

    `margin`: the smallest difference that matters in practice, 0 or more. "Better" and "worse" mean a difference of
    more than the margin. The p-value tests for a difference of more than the margin. `family`: the number of
    comparisons for which the interval and the p-value are adjusted (see `intervals.half_width`). Raises `UserError` if
    the arms share no seed or answered different problems.
    """
    if margin < 0:
        raise UserError(f"margin is {margin}. Give a number that is 0 or more.")
    seeds, cells = combined((a, b), (1, -1), names)
    table, p = _analysed(cells, family, as_is=a.as_is and b.as_is), None
    verdict: ComparisonVerdict = "not decided"
    if table is not None:
        beyond = abs(float(table.mean)) - margin
        p = p_value(table, beyond, family)
        if beyond > half_width(table, ALPHA, family):
            verdict = "better" if table.mean > 0 else "worse"
    interval = dict(_interval(cells, table, family, sum(seed in seeds for seed in a.diverged + b.diverged)))
    return Comparison(
        **interval, first=names[0], second=names[1], p_value=p, verdict=verdict, margin=margin, family=family
    )


def contrast(scores: Mapping[str, Scores], weights: Mapping[str, float], *, family: float = 1.0) -> Interval:
    """Returns the estimate and the interval of a contrast, which is a weighted sum of arms' scores. The value of a cell is
    sum_arm weight[arm] * score[arm]. The cells are all problems under the common seeds of the arms.

    The weights of a difference are {a: 1, b: -1}. The weights of a difference of differences are {a: 1, b: -1, c: -1,
    d: 1}. The weights of a trend are {small: -1, large: 1}. The interval and `family` are as in `compare_scores`. The
    interval's `diverged` counts the diverged runs of all arms under the common seeds. Raises `UserError` if an arm has
    no scores, or if the arms share no seed or answered different problems.
    """
    for name in weights:
        if name not in scores:
            raise UserError(f"contrast: the study has no arm {name!r}.{nearest(name, scores)}")
    arms = [scores[name] for name in weights]
    seeds, cells = combined(arms, list(weights.values()), list(weights))
    diverged = sum(seed in seeds for arm in arms for seed in arm.diverged)
    return _interval(cells, _analysed(cells, family, as_is=all(arm.as_is for arm in arms)), family, diverged)


def compare_all(
    scores: Mapping[str, Scores], pairs: Sequence[tuple[str, str]] | None = None, *, times: float = 1.0
) -> list[Comparison]:
    """Compares the two arms of each pair. `pairs`: the pairs of arms; None for all pairs. Choose the pairs before you
    know the results. The probability of at least one false difference among all comparisons is at most 5%.

    The intervals are adjusted for the number of pairs times `times` (Bonferroni, valid under any dependence). Fewer
    pairs therefore give narrower intervals. `times`: how often the same pairs are compared, for example once for each
    decoding setting (greedy, and sampling at temperature 1).
    """
    pairs = list(combinations(scores, 2)) if pairs is None else pairs
    for name in (name for pair in pairs for name in pair):
        if name not in scores:
            raise UserError(f"comparisons: the study has no arm {name!r}.{nearest(name, scores)}")
    if len({frozenset(pair) for pair in pairs}) < len(pairs) or any(a == b for a, b in pairs):
        raise UserError(
            "comparisons: a pair occurs twice or compares an arm with itself. Name each pair of different arms once."
        )
    family = len(pairs) * times
    return [compare_scores(scores[a], scores[b], names=(a, b), family=family) for a, b in pairs]


def find_winner(scores: Mapping[str, Scores], *, times: float = 1.0) -> Winner:
    """Compares the leader (the arm with the highest mean) with each of the other A - 1 arms. Each comparison has the
    two-sided level 2 alpha/A, which is Bonferroni's level for A/2 comparisons. `times`: the factor by which the family
    size is multiplied. In a study with interim looks, `times` is alpha divided by the part of alpha that the current
    look may use. In a study with only one look, `times` is 1.

    A family of A/2 comparisons is enough, although the leader is chosen by the results. Proof: let b be the truly best
    arm. An arm i other than b wins only if i beats b in the comparison of i and b. This event is one-sided, so its
    probability is at most alpha/A. There are A - 1 such events, one for each arm i. If another arm is truly as good as
    b, then b is a wrong winner too. In this case there is one more event: b beats this other arm. All A events together
    have a probability of at most alpha. The same argument bounds the probability that b is neither the leader nor a
    contender. Source: the argument of Hsu's comparisons with the best (Annals of Statistics 9, 1981).
    """
    if not scores:
        raise UserError("no arm has a finished run, so there is nothing to compare. Finish at least one run.")
    leader = max(scores, key=lambda arm: float(scores[arm].values.mean()))
    family = max(1.0, len(scores) / 2) * times
    comparisons = tuple(
        compare_scores(scores[leader], scores[arm], names=(leader, arm), family=family)
        for arm in scores
        if arm != leader and share_seeds(scores[leader], scores[arm])
    )
    beaten = {c.second for c in comparisons if c.verdict == "better"}
    contenders = tuple(arm for arm in scores if arm != leader and arm not in beaten)
    return Winner(leader=leader, contenders=contenders, comparisons=comparisons)


def compare_with_baselines(
    scores: Mapping[str, Scores],
    starts: Mapping[str, Sequence[str]],
    baselines: Sequence[str],
    leader: str,
    *,
    times: float = 1.0,
) -> tuple[Comparison, ...]:
    """Compares each arm with its starting baselines, and the leader with every baseline. `starts`: the starting
    baselines of each arm. A baseline is a starting baseline of an arm if the arm's training starts from the baseline's
    policy. If this is true of no baseline, all baselines count as starting baselines of the arm. A pair without a
    common seed is left out.

    The leader is chosen by the results, so every arm was a possible leader. The Bonferroni adjustment therefore counts
    all pairs of an arm and a baseline. `times`: see `find_winner`.
    """
    family = max(1, len(starts) * len(baselines)) * times
    rows = {arm: baselines if arm == leader else own for arm, own in starts.items()}
    return tuple(
        compare_scores(scores[arm], scores[baseline], names=(arm, baseline), family=family)
        for arm, row in rows.items()
        for baseline in row
        if share_seeds(scores[arm], scores[baseline])
    )


def detectable_difference(
    *,
    seed_sd: float,
    problem_sd: float,
    noise_sd: float,
    seeds: int,
    problems: int,
    family: float = 1.0,
    power: float = 0.5,
) -> float:
    """Returns the true difference that a study of this size detects with probability `power`. The result is the half
    width of the interval plus t(power; df) standard errors, where df is `Crossed.df`.

    At power 1/2, the result is the half width itself: about every second study detects a true difference of this size.
    At power 80%, the result is larger by .84 standard errors if df is large, and by 1.06 standard errors if df is 2.
    `seed_sd`, `problem_sd` and `noise_sd` are standard deviations of the paired difference, or of another weighted sum
    of arms (see `Interval`). Source: the usual normal approximation with t quantiles, e.g. Machin et al., Sample Size
    Tables for Clinical Studies (2009), ch. 3.
    """
    if seeds < 2 or problems < 2:
        raise UserError(f"{seeds} seeds x {problems} problems are too few. Give at least two seeds and two problems.")
    seed_part = seed_sd**2 / seeds + noise_sd**2 / (seeds * problems)
    parts = [np.asarray(x, dtype=float) for x in (0.0, seed_part, problem_sd**2 / problems, noise_sd**2)]
    table = Crossed(parts[0], parts[1], parts[2], seeds - 1, problems - 1, parts[3])
    width = float(half_width(table, ALPHA, family))
    return width + float(stats.t.ppf(power, table.df) * np.sqrt(table.variance))


def _analysed(cells: Floats, family: float, *, as_is: bool) -> Crossed | None:
    """Returns the analysis of variance of a table. Returns None if the table has fewer than two seeds or fewer than two
    problems. Also returns None if all cells are equal and the problems are few (see `shows_too_little`). `as_is`: True
    if the arms are not samples of training runs. One seed is then enough.

    If the estimated variance is 0 although the cells differ (see `cancels`), the seed part is replaced by
    MS_residual / (S P). The replacement is not too large, because the seed part is at least this value on average (see
    `intervals.py`).
    """
    seeds, problems = cells.shape
    if shows_too_little(cells, ALPHA / family):
        return None
    if seeds == 1 and problems >= 2 and as_is:
        return analyse_one_run(cells)
    if min(seeds, problems) < 2:
        return None
    table = analyse(cells)
    if cancels(cells, float(table.variance)):
        return table._replace(seed_part=table.residual / cells.size)
    return table


def _why_no_interval(cells: Floats, family: float) -> str:
    seeds, problems = cells.shape
    if problems >= 2 and shows_too_little(cells, ALPHA / family):
        return f"{problems} problems without any spread: these are too few for an interval"
    if seeds < 2:
        return "one seed: how much runs differ cannot be estimated, so there is no interval"
    return "one problem: how much problems differ cannot be estimated, so there is no interval"


def _interval(cells: Floats, table: Crossed | None, family: float, diverged: int) -> Interval:
    seeds, problems = cells.shape
    estimate = float(cells.mean())
    if table is None:
        reason = _why_no_interval(cells, family)
        return Interval(estimate=estimate, seeds=seeds, problems=problems, diverged=diverged, reason=reason)
    width = float(half_width(table, ALPHA, family))
    known = Interval(
        estimate=estimate,
        low=estimate - width,
        high=estimate + width,
        se=float(np.sqrt(table.variance)),
        df=float(table.df),
        problem_sd=float(np.sqrt(table.problem_part * problems)),
        seeds=seeds,
        problems=problems,
        diverged=diverged,
    )
    if seeds == 1:
        return known.model_copy(update={"reason": no_spread(cells, width, "problems") or AS_IT_IS})
    seed_variance = table.seed_part * seeds - table.residual / problems
    spread = {
        "seed_sd": float(np.sqrt(max(seed_variance, 0))),
        "noise_sd": float(np.sqrt(table.residual)),
        "reason": no_spread(cells, width, "seeds or problems"),
    }
    return known.model_copy(update=spread)
