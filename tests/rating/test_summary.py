"""What labels say: shares and kappas against textbook values, and how often their intervals cover the truth."""

from __future__ import annotations

import numpy as np
import pytest

from preflab.errors import UserError
from preflab.rating import Label, RatedPair, name_prompts, summarise
from preflab.rating.bounds import bound_share
from preflab.types import Turn


def labels_of(rater: str, outcomes: list[float]) -> list[Label]:
    return [Label(f"p{number}", rater, outcome, 3.0) for number, outcome in enumerate(outcomes)]


def test_shares_of_one_rater() -> None:
    """4 wins, 1 tie, 5 losses; a tie counts half. The interval is Wilson's with the t quantile of 9 degrees of freedom."""
    summary = summarise(labels_of("ann", [1.0] * 4 + [0.5] + [0.0] * 5))
    assert (summary.win.value, summary.tie.value, summary.loss.value) == (0.4, 0.1, 0.5)
    assert summary.win_rate.value == 0.45
    t, n = 2.2621571628, 9.0  # n_eff of a share of the variance of .4 with the divisor n - 1
    middle = (0.4 + t**2 / (2 * n)) / (1 + t**2 / n)
    width = t / (1 + t**2 / n) * (0.24 / n + t**2 / (4 * n**2)) ** 0.5
    assert summary.win.low == pytest.approx(middle - width) and summary.win.high == pytest.approx(middle + width)
    assert summary.agreement is None and summary.with_other is None and summary.seconds == 3.0


def test_prompts_are_the_sample() -> None:
    """Pairs of one prompt are one value, and so are raters of one pair: ten labels of one prompt are no ten observations."""
    turn = (Turn("user", "q"),)
    pairs = [RatedPair(f"p{number}", turn, "x", "y") for number in range(9)]
    pairs.append(RatedPair("p9", (Turn("user", "other"),), "x", "y"))
    labels = labels_of("ann", [1.0] * 9 + [0.0])
    summary = summarise(labels, prompts=name_prompts(pairs))
    assert summary.prompts == 2 and summary.win_rate.value == 0.5
    assert summarise(labels[:9], prompts=name_prompts(pairs)).win_rate.low is None


def test_no_spread_is_no_certainty() -> None:
    """Twenty wins of twenty have an interval that is not empty."""
    assert bound_share([1.0] * 20).low == pytest.approx(1 / (1 + 2.0930240544**2 / 20))
    half = bound_share([0.5] * 20)
    assert half.low is not None and half.high is not None and half.low < 0.35 and half.high > 0.65


def test_cohen_is_that_of_the_textbook() -> None:
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: raw .7, chance .5, kappa .4 (the usual example)."""
    ann = [1.0] * 25 + [0.0] * 25
    bob = [1.0] * 20 + [0.0] * 5 + [1.0] * 10 + [0.0] * 15
    summary = summarise(labels_of("ann", ann) + labels_of("bob", bob))
    agreement = summary.agreement
    assert agreement is not None and agreement.between == ("ann", "bob") and agreement.pairs == 50
    assert agreement.raw.value == pytest.approx(0.7) and agreement.kappa.value == pytest.approx(0.4)
    assert agreement.method == "Cohen's kappa" and summary.by_two == ()
    assert agreement.kappa.low == pytest.approx(0.4 - 2.01 * 0.127, abs=0.02)  # the asymptotic standard error


def test_fleiss_and_each_two() -> None:
    """Three raters: Fleiss' kappa of counts computed by hand, and Cohen's kappa of each two."""
    outcomes = {"a": [1.0, 1.0, 0.0, 0.5], "b": [1.0, 0.0, 0.0, 0.5], "c": [1.0, 1.0, 0.0, 0.0]}
    summary = summarise([label for name, given in outcomes.items() for label in labels_of(name, given)])
    agreement = summary.agreement
    assert agreement is not None and agreement.method == "Fleiss' kappa"
    raw, chance = (1 + 1 / 3 + 1 + 1 / 3) / 4, (5 / 12) ** 2 + (2 / 12) ** 2 + (5 / 12) ** 2
    assert agreement.raw.value == pytest.approx(raw)
    assert agreement.kappa.value == pytest.approx((raw - chance) / (1 - chance))
    assert [two.between for two in summary.by_two] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_agreement_with_a_judge() -> None:
    """A pair with two labels counts once, and pairs that the judge has not seen are left out."""
    labels = labels_of("ann", [1.0, 1.0, 0.0, 0.0, 0.5]) + labels_of("bob", [1.0, 0.0])
    summary = summarise(labels, other={"p0": 1.0, "p1": 1.0, "p2": 0.0, "p3": 1.0, "p77": 0.0}, other_name="gpt")
    judged = summary.with_other
    assert judged is not None and judged.between == ("people", "gpt") and judged.pairs == 4
    assert judged.raw.value == pytest.approx((1 + 0.5 + 1 + 0) / 4)
    table = np.array([[1.5, 0, 0], [0, 0, 0], [1.5, 0, 1.0]]) / 4
    chance = table.sum(0) @ table.sum(1)
    assert judged.kappa.value == pytest.approx((np.trace(table) - chance) / (1 - chance))


def test_kappa_that_is_not_defined() -> None:
    """Where both raters always say the same, kappa is not 0 and not 1: the summary says why there is none."""
    summary = summarise(labels_of("ann", [1.0] * 9) + labels_of("bob", [1.0] * 9))
    assert summary.agreement is not None and summary.agreement.kappa.value is None
    assert "chance alone" in summary.agreement.kappa.reason
    apart = summarise([*labels_of("ann", [1.0]), Label("p1", "bob", 0.0, 1.0)])
    assert apart.agreement is not None and apart.agreement.raw.value is None
    perfect = summarise(labels_of("ann", [1.0, 0.0] * 9) + labels_of("bob", [1.0, 0.0] * 9)).agreement
    assert perfect is not None and perfect.kappa.value == 1.0 and perfect.kappa.low is not None
    assert 0.4 < perfect.kappa.low < 0.8


def test_wrong_labels_are_refused() -> None:
    with pytest.raises(UserError, match="ann gave two labels"):
        summarise(labels_of("ann", [1.0]) * 2)
    with pytest.raises(UserError, match=r"ann gave 0\.7"):
        summarise(labels_of("ann", [0.7]))
    with pytest.raises(UserError, match=r"judge gave 2"):
        summarise(labels_of("ann", [1.0]), other={"p0": 2.0})
    with pytest.raises(UserError, match="no prompt is known"):
        summarise(labels_of("ann", [1.0]), prompts={})
    assert summarise([]).win.reason == "there is no label"


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.3), (0.1, 0.1, 0.8), (0.9, 0.05, 0.05)])
@pytest.mark.parametrize("prompts", [20, 100])
def test_coverage(shares: tuple[float, float, float], prompts: int) -> None:
    """The interval of the win rate, and that of the share of wins, hold the truth in at least 93% of 2,000 draws."""
    generator = np.random.default_rng(7)
    truth, hits = shares[0] + shares[1] / 2, np.zeros(2)
    for _ in range(2_000):
        drawn = generator.choice([1.0, 0.5, 0.0], prompts, p=shares)
        for place, (values, true) in enumerate(((drawn, truth), (drawn == 1.0, shares[0]))):
            bounded = bound_share([float(value) for value in values])
            assert bounded.low is not None and bounded.high is not None
            hits[place] += bounded.low <= true <= bounded.high
    assert (hits / 2_000).min() >= 0.93


def test_coverage_of_kappa() -> None:
    """The interval of Cohen's kappa of 60 pairs holds the true kappa (.4) in at least 92% of 400 draws."""
    generator = np.random.default_rng(11)
    joint = np.array([[0.35, 0.15], [0.15, 0.35]])
    hits = 0
    for _ in range(400):
        cells = generator.choice(4, 60, p=joint.ravel())
        ann, bob = [float(cell // 2) for cell in cells], [float(cell % 2) for cell in cells]
        agreement = summarise(labels_of("ann", ann) + labels_of("bob", bob)).agreement
        assert agreement is not None and agreement.kappa.low is not None and agreement.kappa.high is not None
        hits += agreement.kappa.low <= 0.4 <= agreement.kappa.high
    assert hits / 400 >= 0.92
