"""How often two evaluators agree about which of two arms answers a problem better."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflab.analysis.agreement import measure_order_agreement
from preflab.analysis.scores import Scores

PROBLEMS = ("a", "b", "c", "d")


def table(*rows: list[float], diverged: tuple[int, ...] = ()) -> Scores:
    return Scores(np.array(rows), tuple(range(len(rows))), PROBLEMS, diverged)


def test_shares_by_hand() -> None:
    """Seed 0: the trusted evaluator has d = 1, -1, 0, 2. The third problem is left out. The other has e = 5, 1, 3, 0: it
    agrees, disagrees and ties, so (1 + 0 + 1/2) / 3 = 1/2. Seed 1: d = 1, 1, 1, 1 and e = 1, 1, 1, -1, so 3/4. The mean is
    5/8. The standard deviation is 1 / (4 sqrt(2)), and t(.975; 1) = 12.706: half the interval is 12.706 / 8 = 1.588, which
    is clipped to [0, 1]."""
    trusted = {"x": table([1.0, 0.0, 2.0, 2.0], [1.0] * 4), "y": table([0.0, 1.0, 2.0, 0.0], [0.0] * 4)}
    other = {"x": table([5.0, 1.0, 3.0, 0.0], [1.0, 1.0, 1.0, 0.0]), "y": table([0.0] * 4, [0.0, 0.0, 0.0, 1.0])}
    share = measure_order_agreement(trusted, other, lower=False)
    assert share is not None and share.estimate == pytest.approx(5 / 8)
    assert (share.low, share.high) == (0.0, 1.0)
    turned = measure_order_agreement(trusted, other, lower=True)
    assert turned is not None and turned.estimate == pytest.approx(3 / 8)


def test_a_diverged_run_says_nothing() -> None:
    """The scores of a diverged run are made up, so its seed has no pair here, and no interval is possible."""
    trusted = {"x": table([1.0] * 4, [0.0] * 4, diverged=(1,)), "y": table([0.0] * 4, [1.0] * 4)}
    share = measure_order_agreement(trusted, trusted, lower=False)
    assert share is not None and (share.estimate, share.low) == (1.0, None)
    equal = {"x": table([1.0] * 4), "y": table([1.0] * 4)}
    assert measure_order_agreement(equal, equal, lower=False) is None


@given(st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=3, max_size=3), st.integers(1, 9))
def test_only_the_order_counts(rows: list[list[int]], scale: int) -> None:
    """An increasing transformation of the other evaluator's scores changes nothing, and its negative turns the share
    into 1 - share."""
    trusted = {name: table([float(value) for value in row]) for name, row in zip("xyz", rows, strict=True)}
    other = {name: table([float(value**3) for value in reversed(row)]) for name, row in zip("xyz", rows, strict=True)}
    larger = {name: table([scale * float(value) for value in scores.values[0]]) for name, scores in other.items()}
    share, same = (
        measure_order_agreement(trusted, other, lower=False),
        measure_order_agreement(trusted, larger, lower=False),
    )
    assert share == same
    turned = measure_order_agreement(trusted, other, lower=True)
    if share is not None and turned is not None and share.estimate is not None:
        assert turned.estimate == pytest.approx(1 - share.estimate)
