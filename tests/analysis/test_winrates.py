"""Win rates: every number against a computation by hand or another way, and the coverage of the intervals by simulation."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit

from preflab.analysis.record import Interval
from preflab.analysis.winrates.agreement import cohen_kappa, measure_agreement
from preflab.analysis.winrates.bradley_terry import bradley_terry
from preflab.analysis.winrates.cells import mean_of_cells
from preflab.analysis.winrates.judged import outcome_table
from preflab.analysis.winrates.length import control_length
from preflab.analysis.winrates.position import position_bias
from preflab.analysis.winrates.ppi import correct_by_labels, cross_fit
from preflab.analysis.winrates.rogan_gladen import correct_by_error_rates
from preflab.analysis.winrates.shares import outcome_shares, share_interval, unreadable_bounds, wilson_ends, win_rate
from preflab.analysis.winrates.simulate import SimulatedStudy, corrected, count_covered, uncorrected
from preflab.analysis.winrates.verdict import decide_win_rate
from preflab.evaluation.preference.base import Choice, PairVerdict
from preflab.testbeds.sentiment.requests import make_sentiment_requests
from preflab.testbeds.sentiment.reward import score_answer
from preflab.testbeds.sentiment.writers import write_answer


def judged(outcome: float, *orders: Choice) -> list[PairVerdict]:
    """A cell with one verdict."""
    return [PairVerdict("x", outcome, orders)]


UNREAD, EQUAL = judged(0.5, "unreadable", "first"), judged(0.5)
FOR_FIRST_SHOWN, FAIR = judged(0.5, "first", "second"), judged(1.0, "first", "first")


def test_shares_by_hand() -> None:
    """Protects the counting: an unreadable verdict is a share of its own, counts half in the rate, and the bounds say what it
    could change. Of a pair that two raters judge differently, half counts as a win and half as a loss."""
    verdicts = [[FAIR, FAIR, EQUAL, UNREAD, judged(0.0)]]
    shares = outcome_shares(verdicts, share_interval)
    assert {name: share.estimate for name, share in shares.items()} == {
        "win": 0.4,
        "tie": 0.2,
        "loss": 0.2,
        "unreadable": 0.2,
    }
    assert win_rate(outcome_table(verdicts)).estimate == pytest.approx(0.6)
    assert unreadable_bounds(verdicts) == (pytest.approx(0.5), pytest.approx(0.7))
    people = outcome_shares([[[PairVerdict("x", 0.5, labels=(1.0, 0.0))]]], share_interval)
    assert [share.estimate for share in people.values()] == [0.5, 0.0, 0.5, 0.0]


def test_an_interval_of_a_share_has_a_width_at_its_ends() -> None:
    """Protects from certainty: 0 of 100 and 100 of 100 have an interval, and 50 of 100 has Wilson's with Student's quantile."""
    low, high = wilson_ends(0.5, 100)
    z = 1.984217
    assert (low, high) == (pytest.approx(0.5 - z / 2 / math.sqrt(100 + z * z), abs=1e-6), pytest.approx(1 - low))
    none, every = share_interval(np.zeros((1, 100))), share_interval(np.ones((1, 100)))
    assert none.low == 0.0 and none.high is not None and 0.03 < none.high < 0.05
    assert every.high == 1.0 and every.low == pytest.approx(1 - none.high)


def test_several_seeds_use_the_crossed_analysis() -> None:
    """Protects from too narrow intervals: runs that differ make the interval of three seeds wider than prompts alone would."""
    rng = np.random.default_rng(0)
    runs = np.array([[0.3], [0.6], [0.9]])
    table = (rng.random((3, 200)) < runs).astype(float)
    crossed, pooled = mean_of_cells(table), mean_of_cells(table.reshape(1, -1))
    assert (crossed.seeds, crossed.reason) == (3, "")
    assert pooled.reason == "there is one seed, so the interval says nothing about other training runs"
    assert crossed.se is not None and pooled.se is not None and crossed.se > 3 * pooled.se


def test_equal_outcomes_of_several_seeds_are_no_certainty() -> None:
    """Protects from an interval without a width: if all seeds win on all prompts, the interval is Wilson's over the prompts."""
    every, one = share_interval(np.ones((3, 20))), share_interval(np.ones((1, 20)))
    assert (every.low, every.high, every.seeds) == (one.low, 1.0, 3)
    assert (
        every.reason
        == "all cells are equal, so the interval is over prompts and says nothing about other training runs"
    )


def test_position_bias_by_hand() -> None:
    """Protects the meaning: agreeing orders count one half, a judge that always takes the first answer has 1."""
    assert position_bias([[FAIR, judged(0.0, "second", "second"), FOR_FIRST_SHOWN, FOR_FIRST_SHOWN]]).estimate == 0.75  # type: ignore[union-attr]  # it has ends
    assert position_bias([[FOR_FIRST_SHOWN] * 20]).low > 0.5  # type: ignore[union-attr, operator]  # it has ends


def test_position_bias_leaves_out_what_was_not_read() -> None:
    """Protects the bias: unreadable pairs and equal answers do not count. The pairs of a prompt are averaged, under all seeds
    and of all samples, because they depend on each other."""
    found = position_bias([[FOR_FIRST_SHOWN, UNREAD, EQUAL, FAIR], [FAIR, UNREAD, EQUAL, FAIR]])
    assert found is not None and (found.estimate, found.problems) == (0.625, 2)
    assert position_bias([[UNREAD, EQUAL]]) is None
    samples = position_bias([[FOR_FIRST_SHOWN + FAIR, UNREAD, EQUAL, FAIR + FAIR]])
    assert samples is not None and (samples.low, samples.high) == (found.low, found.high)


def test_a_verdict_follows_the_interval() -> None:
    """Protects the rule that a study and a contest share: the whole interval is on one side of one half, or nothing is
    decided; a judge that may be no better than a coin decides nothing."""
    ends = {(0.51, 0.6): "better", (0.4, 0.49): "worse", (0.5, 0.6): "not decided", (None, None): "not decided"}
    for (low, high), verdict in ends.items():
        assert decide_win_rate(Interval(estimate=0.5, low=low, high=high), trusted=True) == verdict
        assert decide_win_rate(Interval(estimate=0.5, low=low, high=high), trusted=False) == "not decided"


def test_length_control_recovers_what_it_assumes() -> None:
    """Protects the formula: outcomes drawn from the model give back its method and phi, and the coverage of 400 studies is
    near .95. Without control the rate is far off."""
    rng, truth, phi, covered, plain = np.random.default_rng(1), float(expit(0.3)), 1.2, 0, 0
    for _ in range(400):
        d = rng.normal(40, 50, size=(1, 300))
        outcomes = (rng.random(d.shape) < expit(0.3 + phi * np.tanh(d / d.std()))).astype(float)
        found = control_length(outcomes, d).rate
        raw = win_rate(outcomes)
        assert found is not None and found.low is not None and found.high is not None
        assert raw.low is not None and raw.high is not None
        covered += found.low <= truth <= found.high
        plain += raw.low <= truth <= raw.high
    assert 370 <= covered <= 392
    assert plain < 40


def test_length_control_says_why_there_is_none() -> None:
    """Protects from infinite coefficients: without a spread of lengths, or if the method wins always, a reason stands there."""
    same = control_length(np.array([[1.0, 0.0]]), np.array([[5.0, 5.0]]))
    assert same.reason == "all pairs have the same length difference"
    every = control_length(np.ones((1, 50)), np.arange(50.0)[None, :])
    assert (every.rate, every.reason) == (None, "the method or the length predicts every outcome")


def test_bradley_terry_is_the_maximum_likelihood() -> None:
    """Protects the scores: they are those of a general optimiser, sum to 0, and do not depend on how a pair is written."""
    rng, arms = np.random.default_rng(2), ["a", "b", "c"]
    outcomes = {(x, y): rng.choice([0.0, 0.5, 1.0], size=(1, 80)) for x, y in (("a", "b"), ("a", "c"), ("b", "c"))}

    def loss(free: np.ndarray) -> float:
        score = dict(zip(arms, [*free, -free.sum()], strict=True))
        chances = {pair: expit(score[pair[0]] - score[pair[1]]) for pair in outcomes}
        return -sum((np.log(chances[p]) * t + np.log(1 - chances[p]) * (1 - t)).sum() for p, t in outcomes.items())

    best = optimize.minimize(loss, np.zeros(2), tol=1e-12).x
    found = bradley_terry(arms, outcomes).scores
    assert [found[arm].estimate for arm in arms] == pytest.approx([*best, -best.sum()], abs=1e-4)
    flipped = {("b", "a"): 1 - outcomes["a", "b"], ("a", "c"): outcomes["a", "c"], ("c", "b"): 1 - outcomes["b", "c"]}
    again = bradley_terry(arms, flipped).scores
    for arm in arms:
        assert again[arm].estimate == pytest.approx(found[arm].estimate)
        assert again[arm].low == pytest.approx(found[arm].low)


@pytest.mark.parametrize("seeds", [1, 3])
def test_bradley_terry_intervals_hold_together(seeds: int) -> None:
    """Protects the simultaneous intervals: all four scores are covered in at least 93% of 300 studies, although the outcomes of
    one prompt depend on each other, and runs differ."""
    rng, arms, truth, hits = np.random.default_rng(3), list("abcd"), np.array([0.6, 0.2, -0.2, -0.6]), 0
    runs_sd = 0.3 if seeds > 1 else 0.0

    def draw(prompts: int, runs: int) -> dict[tuple[str, str], np.ndarray]:
        skill = truth[:, None, None] + rng.normal(size=(4, runs, 1)) * runs_sd + rng.normal(size=(4, 1, prompts)) * 0.8
        skill = skill + rng.gumbel(size=(4, runs, prompts))
        return {(arms[i], arms[j]): (skill[i] > skill[j]).astype(float) for i in range(4) for j in range(i + 1, 4)}

    population = bradley_terry(arms, draw(200, 2000) if seeds > 1 else draw(400_000, 1)).scores
    for _ in range(300):
        found = bradley_terry(arms, draw(100, seeds)).scores
        hits += all(found[arm].low <= population[arm].estimate <= found[arm].high for arm in arms)  # type: ignore[operator]  # it has ends
    assert hits >= 279


def test_an_arm_that_always_wins_has_no_score() -> None:
    """Protects from infinite scores: the reason names the arm."""
    outcomes = {("a", "b"): np.ones((1, 9)), ("a", "c"): np.ones((1, 9)), ("b", "c"): np.full((1, 9), 0.5)}
    result = bradley_terry(["a", "b", "c"], outcomes)
    assert (result.scores, result.reason[:5]) == ({}, "a won")


def test_agreement_by_hand() -> None:
    """Protects the accuracy: right, wrong, a tie and an unreadable verdict count 1, 0, one half and one half."""
    judged, labels = np.array([1.0, 1.0, 0.0, 0.5, 0.5]), np.array([1.0, 0.0, 0.0, 1.0, 0.0])
    found = measure_agreement(judged, labels, np.array([0, 0, 0, 0, 1]))
    assert found.accuracy.estimate == pytest.approx(0.6)
    assert (found.ties, found.unreadable) == (0.2, 0.2)
    assert (found.sensitivity, found.specificity) == (0.75, pytest.approx(1 - 1.5 / 3))
    assert not found.beats_coin
    assert measure_agreement(labels, labels, np.zeros(5)).kappa.estimate == 1.0


def test_kappa_by_hand() -> None:
    """Protects kappa: the textbook's table (20, 5, 10, 15) gives .4, and its standard error is that of Fleiss' formula."""
    one = np.repeat([0, 0, 1, 1], [20, 5, 10, 15])
    other = np.repeat([0, 1, 0, 1], [20, 5, 10, 15])
    found = cohen_kappa(one, other)
    assert found.estimate == pytest.approx(0.4)
    p, rows, columns = np.array([[0.4, 0.1], [0.2, 0.3]]), np.array([0.5, 0.5]), np.array([0.6, 0.4])
    po, pe, k = 0.7, 0.5, 0.4
    a = sum(p[i, i] * (1 - (rows[i] + columns[i]) * (1 - k)) ** 2 for i in range(2))
    b = (1 - k) ** 2 * sum(p[i, j] * (columns[i] + rows[j]) ** 2 for i in range(2) for j in range(2) if i != j)
    fleiss = math.sqrt((a + b - (k - pe * (1 - k)) ** 2) / 50) / (1 - pe)
    assert po == pytest.approx(p.trace())
    assert found.se == pytest.approx(fleiss * math.sqrt(50 / 49), rel=1e-6)
    assert cohen_kappa(np.zeros(5), np.zeros(5)).estimate is None


def test_a_kappa_without_width_says_why() -> None:
    """Protects readers: two raters that always agree, and a judge that calls every pair a tie, which agrees with nobody."""
    both, ties = np.array([0, 1, 0, 1]), np.ones(4)
    agreed, constant = cohen_kappa(both, both), cohen_kappa(ties, np.array([0, 2, 0, 2]))
    assert (agreed.estimate, agreed.reason) == (1, "the raters agree on every pair, so the interval has no width")
    assert constant.estimate == 0
    assert constant.reason == "one rater gave every pair the same class, so the interval has no width"


def test_a_correction_by_hand() -> None:
    """Protects the formula: estimate and variance for given weights, computed here term by term, and each weight comes from
    the labels of the other folds alone."""
    rng = np.random.default_rng(4)
    people = rng.choice([0.0, 0.5, 1.0], size=60)
    judge, rest = np.where(rng.random(60) < 0.2, 1 - people, people), rng.choice([0.0, 0.5, 1.0], size=140)
    weights = cross_fit(people, judge, 140)
    others = np.arange(60) % 10 != 3
    expected = np.cov(people[others], judge[others], ddof=0)[0, 1] / ((1 + 60 / 140) * judge[others].var())
    assert weights[3] == weights[13] == pytest.approx(expected)
    found = correct_by_labels(people, judge, rest)
    terms = people - weights * (judge - rest.mean())
    assert found.rate.estimate == pytest.approx(people.mean() - np.mean(weights * judge) + weights.mean() * rest.mean())
    error = math.sqrt(terms.var(ddof=1) / 60 + weights.mean() ** 2 * (rest.var(ddof=1) / 140 + 1 / 60**2))
    assert found.rate.se == pytest.approx(error)
    mean, share, z = people.mean(), found.rate.estimate, 2.000995
    size = mean * (1 - mean) / error**2
    ends = [(e - share) ** 2 - z * z * e * (1 - e) / size for e in (found.rate.low, found.rate.high)]  # type: ignore[operator]  # it has ends
    assert ends == pytest.approx([0.0, 0.0], abs=1e-6)


def test_a_useless_judge_costs_nothing() -> None:
    """Protects from a bad judge: with a constant judge the correction is the mean of the labels and its interval."""
    people = np.tile([0.0, 0.5, 1.0, 1.0], 15)
    found = correct_by_labels(people, np.ones(60), np.ones(40))
    assert (found.weight, found.rate) == (0.0, found.labels_alone)


@pytest.mark.parametrize("bias", [0.0, 0.2])
@pytest.mark.parametrize(("prompts", "labels"), [(100, 50), (500, 100)])
def test_the_corrected_interval_covers_the_true_win_rate(prompts: int, labels: int, bias: float) -> None:
    """Protects the promise: with a judge that is wrong 20% of the time, the corrected interval covers the true win rate in at
    least 1,860 of 2,000 simulated studies; the judge's own interval does not."""
    study = SimulatedStudy(prompts, labels, rate=0.7, wrong=0.2, bias=bias)
    covered, _ = count_covered(study, corrected, 2000)
    print(f"{covered} of 2000")
    assert covered >= 1860
    if prompts == 500 and bias == 0:  # with a bias to the first, the two errors happen to cancel
        assert count_covered(study, uncorrected, 500)[0] < 450


def test_on_sentiment_the_corrected_interval_covers_the_exact_win_rate() -> None:
    """Protects the promise where the truth is exact: writers of skill .75 and .25 answer 1,000 requests of `sentiment`, and
    the true reward decides each pair (a tie within .1). A judge is wrong about 20% of 100 pairs drawn at random, and 50 of
    them are labelled. The corrected interval covers the win rate over all requests in at least 1,860 of 2,000 studies."""
    rng = random.Random(0)
    requests = make_sentiment_requests(0, "policy", "test", 1000)
    rewards = np.array(
        [[score_answer(row, write_answer(rng, row, skill).text).reward for skill in (0.75, 0.25)] for row in requests]
    )
    gaps = rewards[:, 0] - rewards[:, 1]
    truth = np.where(np.abs(gaps) <= 0.1, 0.5, (gaps > 0).astype(float))
    draws, covered = np.random.default_rng(0), 0
    for _ in range(2000):
        people = truth[draws.permutation(1000)[:100]]
        other = np.where(people == 0.5, (draws.random(100) < 0.5).astype(float), 1 - people)
        judge = np.where(draws.random(100) < 0.2, other, people)
        rate = correct_by_labels(people[:50], judge[:50], judge[50:]).rate
        assert rate.low is not None and rate.high is not None
        covered += rate.low <= truth.mean() <= rate.high
    print(f"{covered} of 2000; the win rate is {truth.mean():.3f}")
    assert covered >= 1860


@pytest.mark.parametrize("wrong", [0.05, 0.2])
@pytest.mark.parametrize("rate", [0.5, 0.9, 0.95, 0.97])
@pytest.mark.parametrize(("prompts", "labels"), [(100, 50), (500, 50), (500, 100)])
def test_the_corrected_interval_covers_win_rates_near_1(prompts: int, labels: int, rate: float, wrong: float) -> None:
    """Protects from false certainty: near 1, and with a judge that is seldom wrong, the corrected interval still covers the
    true win rate in at least 1,860 of 2,000 simulated studies."""
    covered, _ = count_covered(SimulatedStudy(prompts, labels, rate=rate, ties=0.0, wrong=wrong), corrected, 2000)
    assert covered >= 1860


def test_corrected_and_length_controlled_intervals_hold_together() -> None:
    """Protects from too many findings: of ten pairs, each interval has the level 1 - .05 / 10, and is wider."""
    rng = np.random.default_rng(7)
    people, rest, lengths = (rng.integers(0, 2, size).astype(float) for size in (60, 100, 100))
    corrections = [correct_by_labels(people, people, rest, family=family) for family in (1, 10)]
    controls = [control_length(rest[None, :], lengths[None, :], family=family).rate for family in (1, 10)]
    equal = [correct_by_labels(np.ones(60), people, rest, family=family).rate for family in (1, 10)]
    for one, ten in ([each.rate for each in corrections], [each.labels_alone for each in corrections], equal, controls):
        assert one.estimate == ten.estimate  # type: ignore[union-attr]  # it has ends
        assert one.low > ten.low  # type: ignore[union-attr, operator]  # it has ends
    assert equal[1].low == pytest.approx(0.0025 ** (1 / 60))


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_equal_labels_are_no_certainty(label: float) -> None:
    """Protects from an interval without a width: 60 equal labels have Clopper and Pearson's interval, and a reason."""
    rng = np.random.default_rng(5)
    found = correct_by_labels(
        np.full(60, label), rng.integers(0, 2, 60).astype(float), rng.integers(0, 2, 40).astype(float)
    )
    far = found.rate.high if label == 0 else 1 - found.rate.low  # type: ignore[operator]  # it has ends
    assert (found.rate.estimate, far) == (label, pytest.approx(1 - 0.025 ** (1 / 60)))
    assert (
        found.rate.reason
        == "all labels are equal, so the interval is computed from the labels alone, without the judge"
    )


def test_error_rates_by_hand() -> None:
    """Protects Rogan and Gladen's formula: sensitivity .8 and specificity .7 turn a judged rate of .55 into .5; a judge near a
    coin is refused, and ties on which the judge takes the first answer are taken off the judged rate."""
    labels = np.array([1.0] * 20 + [0.0] * 20)
    judged = np.array([1.0] * 16 + [0.0] * 4 + [0.0] * 14 + [1.0] * 6)
    outcomes = np.array([1.0] * 55 + [0.0] * 45)
    found = correct_by_error_rates(labels, judged, outcomes)
    assert (found.sensitivity, found.specificity) == (0.8, pytest.approx(0.7))
    assert found.rate is not None and found.rate.estimate == pytest.approx(0.5)
    tied = correct_by_error_rates(np.append(labels, [0.5] * 10), np.append(judged, [1.0] * 10), outcomes)
    assert tied.rate is not None
    assert tied.rate.estimate == pytest.approx((0.55 - 0.2 * 1.0 - 0.8 * 0.3) / 0.5 + 0.1)
    coin = correct_by_error_rates(labels, np.tile([0.0, 1.0], 20), outcomes)
    assert (coin.rate, coin.reason) == (None, "sensitivity + specificity - 1 is not clearly above 0")
    assert correct_by_error_rates(np.ones(9), np.ones(9), outcomes).rate is None


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_error_rates_estimate_the_win_rate_with_ties(bias: float) -> None:
    """Protects the label: with 40% ties and a judge that prefers the first answer, the mean estimate is the true rate with a
    tie as half a win, and its interval covers it."""
    study, rng, found, covered = (
        SimulatedStudy(1000, 500, rate=0.8, ties=0.4, bias=bias),
        np.random.default_rng(6),
        [],
        0,
    )
    for _ in range(200):
        people, judge = study.draw(rng)
        rate = correct_by_error_rates(people[:500], judge[:500], judge).rate
        assert rate is not None and rate.estimate is not None and rate.low is not None and rate.high is not None
        found.append(rate.estimate)
        covered += rate.low <= study.truth <= rate.high
    assert np.mean(found) == pytest.approx(study.truth, abs=0.006)
    assert covered >= 182
