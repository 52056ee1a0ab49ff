"""The study's statistics: arithmetic, verdicts, and what their claims are worth in simulated studies."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from preflab.analysis.intervals import Floats, analyse, half_width, p_value, safe_half_width, sharp_half_width
from preflab.analysis.measured import interval_over_seeds
from preflab.analysis.scores import Scores
from preflab.analysis.simulate import Design, coverage, false_wins, studies, wrong_winners
from preflab.analysis.spread import spread_caveats
from preflab.analysis.statistics import (
    AS_IT_IS,
    compare_all,
    compare_scores,
    detectable_difference,
    find_winner,
    mean_interval,
)
from preflab.errors import UserError

STUDIES = 2000
MONTE_CARLO_SE = (0.05 * 0.95 / STUDIES) ** 0.5  # .0049


def arm(values: object, seeds: tuple[int, ...] | None = None, diverged: tuple[int, ...] = ()) -> Scores:
    table = np.asarray(values, dtype=float)
    return Scores(
        table, seeds or tuple(range(table.shape[0])), tuple(f"p{i}" for i in range(table.shape[1])), diverged=diverged
    )


def noisy(mean: float, seed: int, seeds: int = 5, problems: int = 40) -> Scores:
    rng = np.random.default_rng(seed)
    return arm(mean + 0.02 * rng.normal(size=(seeds, 1)) + 0.1 * rng.normal(size=(seeds, problems)))


# --- arithmetic


def test_golden_three_by_two() -> None:
    """Guards the mean squares and the harmonic degrees of freedom, by hand.

    d = [[0, 2], [2, 4], [4, 12]]: rows' means 1, 3, 8, columns' means 2, 6, grand mean 4.
    SS_seed = 2 (9 + 1 + 16) = 52, MS_seed = 26.  SS_problem = 3 (4 + 4) = 24, MS_problem = 24.
    SS_total = 16 + 4 + 4 + 0 + 0 + 64 = 88, SS_residual = 88 - 52 - 24 = 12, MS_residual = 6.
    seed_part = 26/6, problem_part = (24 - 6)/6 = 3, variance 44/6, shares 26/44 and 18/44;
    1/df = (26/44)/2 + (18/44)/1 = 31/44.  var A = (26 - 6)/2 = 10, var B = (24 - 6)/3 = 6, var E = 6.
    """
    c = compare_scores(arm([[0, 2], [2, 4], [4, 12]]), arm(np.zeros((3, 2))))
    assert c.difference == 4
    assert c.se == pytest.approx((44 / 6) ** 0.5)
    assert c.df == pytest.approx(44 / 31)
    assert (c.seed_sd, c.problem_sd, c.noise_sd) == pytest.approx((10**0.5, 6**0.5, 6**0.5))
    assert c.low is not None
    assert c.high is not None
    half = stats.t.isf(0.025, 44 / 31) * (44 / 6) ** 0.5
    assert (c.low, c.high) == pytest.approx((4 - half, 4 + half))
    simultaneous = compare_scores(arm([[0, 2], [2, 4], [4, 12]]), arm(np.zeros((3, 2))), family=2)
    half = (stats.t.isf(0.0125, 2) ** 2 * 26 / 6 + stats.t.isf(0.0125, 1) ** 2 * 3) ** 0.5
    assert simultaneous.high == pytest.approx(4 + half)


def test_only_seeds_vary_is_the_t_test_on_seed_means() -> None:
    """Guards the textbook's limit: no problem effect, no residual -> one-sample t test on the seeds' means."""
    means = np.array([0.1, 0.3, 0.2, 0.7])
    c = compare_scores(arm(np.repeat(means[:, None], 9, axis=1)), arm(np.zeros((4, 9))))
    expected = stats.ttest_1samp(means, 0)
    assert c.p_value == pytest.approx(expected.pvalue)
    assert (c.low, c.high) == pytest.approx(tuple(expected.confidence_interval()))


tables = st.integers(0, 10**6).map(
    lambda n: np.random.default_rng(n).normal(size=(2 + n % 4, 3 + n % 5)) * 0.3 + (n % 7) * 0.1
)


@given(tables, st.floats(-3, 3), st.floats(0.1, 10), st.integers(0, 1000))
def test_invariances(d: Floats, shift: float, scale: float, order: int) -> None:
    """Guards that units, sign, and the order of seeds and problems change nothing but the units and the sign."""
    rng, zeros = np.random.default_rng(order), arm(np.zeros_like(d))
    a = compare_scores(arm(d), zeros)
    shuffled = d[rng.permutation(len(d))][:, rng.permutation(d.shape[1])]
    b = compare_scores(arm(scale * shuffled + shift), zeros)
    assert b.difference == pytest.approx(scale * a.difference + shift)
    assert b.se == pytest.approx(scale * a.se)
    assert b.df == pytest.approx(a.df)
    c = compare_scores(zeros, arm(d))
    assert (c.low, c.high) == pytest.approx((-a.high, -a.low))
    assert {a.verdict, c.verdict} in ({"better", "worse"}, {"not decided"})


@given(tables, st.sampled_from([1.0, 1.5, 6.0, 21.0]), st.floats(0, 0.2))
def test_verdict_interval_and_p_value_agree(d: Floats, family: float, margin: float) -> None:
    """Guards that the report can never show a decided verdict beside an interval or a p-value that says otherwise."""
    c = compare_scores(arm(d), arm(np.zeros_like(d)), family=family, margin=margin)
    assert c.low is not None
    assert c.high is not None
    assert c.p_value is not None
    assert c.decided == (c.low > margin or c.high < -margin) == (c.p_value < 0.05)
    assert (c.verdict == "better") == (c.low > margin)


@given(tables, st.sampled_from([0.05, 0.01, 0.001, 1e-5]))
def test_asking_more_never_narrows(d: Floats, alpha: float) -> None:
    """Guards that a bigger family never narrows an interval, and that p-values invert widths."""
    table = analyse(d)
    assert safe_half_width(table, alpha) >= sharp_half_width(table, alpha) * (1 - 1e-12)
    widths = [float(half_width(table, alpha, family)) for family in (1, 1.5, 6, 21)]
    assert widths == sorted(widths)
    for width, family in zip(widths, (1, 1.5, 6, 21), strict=True):
        assert p_value(table, width, family) == pytest.approx(alpha)


# --- what is said when


def test_verdicts() -> None:
    """Guards the three verdicts, the margin, and that a family's interval is the wider one."""
    a, b = noisy(0.6, 1), noisy(0.4, 2)
    assert compare_scores(a, b).verdict == "better"
    assert compare_scores(b, a).verdict == "worse"
    assert compare_scores(a, b, margin=0.3).verdict == "not decided"
    assert compare_scores(a, noisy(0.6, 3)).verdict == "not decided"
    one, many = compare_scores(a, b), compare_scores(a, b, family=6)
    assert many.high - many.low > one.high - one.low
    assert many.p_value > one.p_value


def test_identical_arms_are_not_decided() -> None:
    """Guards the degenerate table: no difference anywhere is no division by zero and no win."""
    a = noisy(0.5, 1)
    for family in (1, 6):
        c = compare_scores(a, a, family=family)
        assert (c.low, c.high, c.p_value, c.verdict) == (0, 0, 1, "not decided")
        assert c.reason.startswith("no spread between seeds or problems was seen: the interval has no width")
        always = compare_scores(arm(a.values + 1), a, family=family)
        assert always.verdict == "better"
        assert always.p_value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("problems", "family", "verdict"),
    [(2, 1, "not decided"), (5, 1, "not decided"), (6, 1, "better"), (6, 2, "not decided")],
)
def test_a_few_equal_differences_decide_nothing(problems: int, family: float, verdict: str) -> None:
    """Guards from p = 0 after two seeds and two problems. Equal differences on P problems have one sign by chance with
    2^(1-P): .5 for 2, .0625 for 5, .03125 for 6, which is below .05 but not below .05 / 2."""
    compared = compare_scores(arm(np.ones((2, problems))), arm(np.zeros((2, problems))), family=family)
    assert compared.verdict == verdict and compared.estimate == 1.0
    if verdict == "not decided":
        assert (compared.low, compared.high, compared.p_value) == (None, None, None)
        assert compared.reason == f"{problems} problems without any spread: these are too few for an interval"


def test_a_spread_that_cancels_decides_nothing() -> None:
    """Guards from p = 0 where the estimated variance is 0 by chance: seed 0 gains on problems 0 to 2, seed 1 on 3 to 5, of ten.
    Both seeds have the mean .3, and the problems differ less than the residuals. MS_problem = 6 (.5 - .3)^2 + 4 (.3)^2 = .6 of
    9 degrees times 2 seeds = .133; the total sum of squares is 20 (.21) = 4.2, so that MS_residual = (4.2 - 1.2) / 9 = .333,
    and se = sqrt(.333 / 20) = .129."""
    cells = np.zeros((2, 10))
    cells[0, :3] = cells[1, 3:6] = 1.0
    compared = compare_scores(arm(cells), arm(np.zeros((2, 10))), family=60)
    assert (compared.estimate, compared.verdict, compared.reason) == (pytest.approx(0.3), "not decided", "")
    assert compared.se == pytest.approx((1 / 3 / 20) ** 0.5)
    assert compared.low is not None and compared.low < 0 and compared.p_value == 1.0


def test_policies_from_elsewhere_have_their_own_reason() -> None:
    """Guards the reason: one seed is enough for policies from elsewhere, but three problems without spread are not."""
    first, second = (Scores(np.full((1, 3), at), (0,), ("a", "b", "c"), as_is=True) for at in (1.0, 0.0))
    assert compare_scores(first, second).reason == "3 problems without any spread: these are too few for an interval"


def test_one_run_of_each_policy_is_not_an_interval_without_width() -> None:
    """Guards from calling every remark a missing spread: an interval over problems alone has a width."""
    scores = Scores(np.arange(40.0)[None] % 7, (0,), tuple(map(str, range(40))), as_is=True)
    value = mean_interval(scores)
    assert value.reason == AS_IT_IS and value.is_unusual and not value.has_no_spread
    assert [*spread_caveats({"ours": value}, "pass@1")] == []
    flat = mean_interval(Scores(np.full((2, 9), 0.3), (0, 1), tuple("abcdefghi")))
    assert [line.partition(":")[0] for line in spread_caveats({"ours": value, "flat": flat}, "pass@1")] == ["flat"]


def test_an_interval_without_width_says_so() -> None:
    """Guards from reading [x, x] as certainty: equal cells, of .1, whose mean is rounded, and of 0. A table with any spread
    has no remark."""
    for values in (np.full((3, 7), 0.1), np.zeros((2, 7))):
        flat = mean_interval(arm(values))
        assert flat.low == pytest.approx(flat.high) and flat.has_no_spread and "no spread" in flat.reason
    for plain in (
        mean_interval(noisy(0.5, 1)),
        compare_scores(noisy(0.5, 1), noisy(0.5, 2)),
        interval_over_seeds([1, 2]),
    ):
        assert plain.reason == "" and not plain.has_no_spread
    assert interval_over_seeds([0.1] * 3).reason.startswith("no spread between seeds was seen")
    assert not mean_interval(noisy(0.5, 1, seeds=1)).has_no_spread  # it has no interval at all


def test_one_seed_has_no_interval() -> None:
    """Guards that a single run (or problem) is never given a certainty: no interval, no p-value, a reason in words."""
    c = compare_scores(noisy(0.9, 1, seeds=1), noisy(0.1, 2, seeds=1))
    assert (c.low, c.high, c.p_value, c.decided, c.preliminary) == (None, None, None, False, True)
    assert c.difference > 0.5
    assert c.reason.startswith("one seed")
    assert mean_interval(noisy(0.9, 1, problems=1)).reason.startswith("one problem")


def test_preliminary_below_five_seeds() -> None:
    """Guards the word 'preliminary'."""
    assert mean_interval(noisy(0.5, 1, seeds=4)).preliminary
    assert not mean_interval(noisy(0.5, 1, seeds=5)).preliminary


def test_pairs_are_matched_by_name() -> None:
    """Guards that arms pair by seed and problem names: other order is the same, missing seeds leave the pair alone."""
    a, b = noisy(0.6, 1), noisy(0.4, 2)
    turned = Scores(b.values[::-1, ::-1], b.seeds[::-1], b.problems[::-1])
    assert vars(compare_scores(a, b)) == pytest.approx(vars(compare_scores(a, turned)))
    fewer = Scores(b.values[1:4], b.seeds[1:4], b.problems, diverged=(2,))
    c = compare_scores(a, fewer)
    assert c.seeds == 3
    assert c.diverged == 1
    assert c.difference == pytest.approx((a.values - b.values)[1:4].mean())


def test_a_diverged_run_counts() -> None:
    """Guards that divergence costs the arm: its row stays in the mean, it widens the interval, it is counted."""
    good = noisy(0.6, 1)
    values = good.values.copy()
    values[3] = 0
    broken = mean_interval(arm(values, diverged=(3,)))
    assert broken.diverged == 1
    assert broken.estimate < mean_interval(good).estimate - 0.1
    assert broken.seed_sd > 0.2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: arm([[0.1, float("nan")]]), "seed 0, problem 'p1' is nan"),
        (lambda: arm(np.zeros((0, 3))), "at least one of each"),
        (lambda: arm(np.zeros((2, 3)), seeds=(1, 1)), "occurs twice"),
        (lambda: compare_scores(arm(np.zeros((2, 3))), arm(np.zeros((2, 4)))), "same problems"),
        (lambda: compare_scores(arm(np.zeros((2, 3))), arm(np.zeros((2, 3)), seeds=(7, 8))), "share no seed"),
        (lambda: compare_all({"ppo": noisy(0.5, 1)}, [("ppo", "dpoo")]), "no arm 'dpoo'"),
        (lambda: compare_all({"a": noisy(0, 1), "b": noisy(0, 2)}, [("a", "b"), ("b", "a")]), "occurs twice"),
        (lambda: compare_scores(noisy(0, 1), noisy(0, 2), margin=-1), "margin is -1"),
        (lambda: find_winner({}), "no arm has a finished run"),
    ],
)
def test_bad_input(make: object, words: str) -> None:
    """Guards one clear message per mistake."""
    with pytest.raises(UserError, match=words):
        make()


def test_families() -> None:
    """Guards the family's size: named pairs pay for themselves only, all pairs for A (A - 1)/2."""
    scores = {name: noisy(m, i) for i, (name, m) in enumerate([("sft", 0.3), ("dpo", 0.5), ("ppo", 0.7)])}
    named = compare_all(scores, [(name, "sft") for name in scores if name != "sft"])
    assert [(c.first, c.second, c.family) for c in named] == [("dpo", "sft", 2), ("ppo", "sft", 2)]
    assert {c.family for c in compare_all(scores)} == {3}
    assert all(c.verdict == "better" for c in named)


def test_winner() -> None:
    """Guards the three endings: a winner; a leader with contenders; one arm alone, which beats nobody."""
    scores = {name: noisy(m, i) for i, (name, m) in enumerate([("sft", 0.3), ("dpo", 0.5), ("ppo", 0.7)])}
    assert (find_winner(scores).leader, find_winner(scores).decided) == ("ppo", True)
    tied = find_winner(scores | {"twin": noisy(0.705, 9)})
    assert {tied.leader, *tied.contenders} == {"ppo", "twin"}
    assert not tied.decided
    assert not find_winner({"sft": scores["sft"]}).decided


def test_detectable_difference() -> None:
    """Guards the planner: it is the half width of a study with those very spreads, and more seeds make it smaller."""
    c = compare_scores(arm([[0, 2], [2, 4], [4, 12]]), arm(np.zeros((3, 2))))
    spreads = {"seed_sd": c.seed_sd, "problem_sd": c.problem_sd, "noise_sd": c.noise_sd}
    plan = detectable_difference(**spreads, seeds=3, problems=2)
    assert plan == pytest.approx((c.high - c.low) / 2)
    grid = [
        detectable_difference(seed_sd=0.05, problem_sd=0.2, noise_sd=0.3, seeds=s, problems=200) for s in (3, 5, 10)
    ]
    assert grid == sorted(grid, reverse=True)


# --- what the claims are worth, measured


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("seed_sd", [0.0, 0.02, 0.05, 0.1])
def test_coverage(seeds: int, seed_sd: float) -> None:
    """Guards the interval's promise: nominal .95 covers .93 to .97 (100 problems, 5 answers each)."""
    assert 0.93 <= coverage(Design.pair(seeds, 100, seed_sd), STUDIES) <= 0.97


def test_two_seeds_are_on_the_safe_side() -> None:
    """Guards that two seeds, too few for the sharp rule, get an interval that errs by covering more, not less."""
    assert min(coverage(Design.pair(2, 100, sd), STUDIES) for sd in (0.0, 0.05)) >= 0.95 - 2 * MONTE_CARLO_SE


@pytest.mark.parametrize(
    "design",
    [
        Design.pair(3, 300, 0.02, levels=(-2.0, -2.6)),
        Design(3, 100, seed_sd=(0.0, 0.1), levels=(0.8, 0.0)),
        Design(3, 100, samples=1, taste_sd=0.0, chance_sd=0.0),
        Design(5, 100, samples=20, seed_sd=(0.01, 0.03)),
    ],
    ids=["hard problems", "one arm unstable", "one answer, no taste", "twenty answers"],
)
def test_coverage_elsewhere(design: Design) -> None:
    """Guards that the coverage is no accident of one design: real differences, unequal spreads, other sampling."""
    assert 0.93 - 2 * MONTE_CARLO_SE <= coverage(design, STUDIES) <= 0.97 + 2 * MONTE_CARLO_SE


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("seed_sd", [0.0, 0.03, 0.1])
def test_family_wise_error(seeds: int, seed_sd: float) -> None:
    """Guards <= 5% studies with any false difference among 7 equal arms, and <= 5% with a false winner."""
    design, limit = Design(seeds, 40, seed_sd=(seed_sd,) * 7, levels=(0.0,) * 7), 0.05 + 2 * (0.0475 / 1000) ** 0.5
    assert false_wins(design, [(i, 0) for i in range(1, 7)], 1000) <= limit
    assert false_wins(design, list(combinations(range(7), 2)), 1000) <= limit
    assert wrong_winners(design, 1000) <= limit


def test_two_best_arms_make_no_winner() -> None:
    """Guards the hardest case for `winner`: two arms tie far above the rest, so only their comparison protects."""
    design = Design(3, 40, seed_sd=(0.05,) * 6, levels=(1.5, 1.5, -3.0, -3.0, -3.0, -3.0))
    assert wrong_winners(design, 1000) <= 0.05


def test_satterthwaite_and_bootstrap_are_worse() -> None:
    """Guards the reasons of docs/statistics.md: with 3 seeds that carry most of the variance Satterthwaite's degrees of
    freedom cover under .94, and a percentile bootstrap over seeds and problems covers under .89."""
    rng, resamples, truth = np.random.default_rng(1), 400, 0.0
    satterthwaite, bootstrap = [], []
    for scores in studies(Design.pair(3, 100, 0.07), 1200, np.random.default_rng(0)):
        d = scores[:, 0] - scores[:, 1]
        t = analyse(d)
        df = t.variance**2 / (t.seed_part**2 / t.seed_df + t.problem_part**2 / t.problem_df)
        satterthwaite.append(np.abs(t.mean - truth) <= stats.t.isf(0.025, df) * t.variance**0.5)
        by_seed = rng.multinomial(3, [1 / 3] * 3, size=resamples) / 3
        by_problem = rng.multinomial(100, [1 / 100] * 100, size=resamples) / 100
        means = np.einsum("bs,nsp,bp->nb", by_seed, d, by_problem, optimize=True)
        low, high = np.quantile(means, [0.025, 0.975], axis=1)
        bootstrap.append((low <= truth) & (truth <= high))
    assert np.concatenate(satterthwaite).mean() < 0.94
    assert 0.77 <= np.concatenate(bootstrap).mean() <= 0.89


def test_policies_as_they_are_have_an_interval_over_problems() -> None:
    """Protects comparisons of single policies: with one seed their interval is Student's t of the paired differences over the
    problems, adjusted for the family, and says what it is over; arms that are training runs have none, as before."""
    values = np.random.default_rng(3).normal(size=(2, 1, 30))
    names = tuple(f"p{n}" for n in range(30))
    one, other = (Scores(table, (0,), names, as_is=True) for table in values)
    found = compare_scores(one, other, family=3)
    difference = (values[0] - values[1])[0]
    width = stats.t.isf(0.05 / 3 / 2, 29) * difference.std(ddof=1) / np.sqrt(30)
    assert found.low == pytest.approx(difference.mean() - width) and found.high == pytest.approx(
        difference.mean() + width
    )
    assert found.p_value == pytest.approx(min(1, 3 * stats.ttest_rel(values[0][0], values[1][0]).pvalue))
    assert (found.seed_sd, found.noise_sd, found.df) == (None, None, 29) and "over problems alone" in found.reason
    assert mean_interval(one).low is not None
    run = Scores(values[1], (0,), names)
    assert compare_scores(one, run).low is None and mean_interval(run).low is None
