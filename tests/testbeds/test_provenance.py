"""Provenance: an evaluator that saw what another model saw is refused, and no other."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflab.errors import UserError
from preflab.testbeds.provenance import (
    SKETCH_SIZE,
    describe_provenance,
    estimate_shared_fraction,
    make_turn_key,
    place_key,
    refuse_overlap,
)
from preflab.types import Prompt, Turn


def keys(start: int, stop: int) -> list[str]:
    return [make_turn_key(Prompt("", (Turn("user", f"question {i}"),))) for i in range(start, stop)]


@given(st.sets(st.integers(0, 30), min_size=1), st.sets(st.integers(0, 30), min_size=1))
def test_small_sets_are_compared_exactly(one: set[int], other: set[int]) -> None:
    """share = |A and B| / min(|A|, |B|), and the order of the evidence does not matter."""
    universe = keys(0, 31)
    a, b = (describe_provenance("t", "p", [universe[i] for i in chosen]) for chosen in (one, other))
    assert (
        estimate_shared_fraction(a, b) == estimate_shared_fraction(b, a) == len(one & other) / min(len(one), len(other))
    )


def test_a_small_overlap_of_large_sets_is_found() -> None:
    """3 x SKETCH keys each, of which 10% shared: the sketches show it, and the estimate is near."""
    n = 3 * SKETCH_SIZE
    a, b = describe_provenance("t", "p", keys(0, n)), describe_provenance("t", "p", keys(n - n // 10, 2 * n))
    assert estimate_shared_fraction(a, b) == pytest.approx(0.1, abs=0.04)
    assert estimate_shared_fraction(a, describe_provenance("t", "p", keys(n, 2 * n))) == 0


def test_parts_by_place_are_seen_to_overlap() -> None:
    """The sketch's order is independent of the place that makes the parts: [0, .9) and [.5, .8) do overlap."""
    universe = keys(0, 4 * SKETCH_SIZE)
    wide = describe_provenance("t", "p", [key for key in universe if place_key(key, "part") < 0.9])
    inner = describe_provenance("t", "p", [key for key in universe if 0.5 <= place_key(key, "part") < 0.8])
    outer = describe_provenance("t", "p", [key for key in universe if place_key(key, "part") >= 0.9])
    assert estimate_shared_fraction(wide, inner) == 1 and estimate_shared_fraction(wide, outer) == 0


def test_the_evaluator_is_refused_with_the_guilty_named() -> None:
    """One model among many (say the SFT below a policy) that shares data is enough; JSON changes nothing."""
    evaluator = json.loads(json.dumps(describe_provenance("hh_rlhf", "evaluator", keys(0, 50))))
    clean, guilty = (
        describe_provenance("hh_rlhf", "policy", keys(50, 99)),
        describe_provenance("jsonl", "train", keys(40, 90)),
    )
    refuse_overlap(evaluator, [clean, clean])
    with pytest.raises(
        UserError,
        match=r"hh_rlhf \(part evaluator\), and another model was trained on jsonl \(part train\)\. 20\.0% of",
    ):
        refuse_overlap(evaluator, [clean, guilty])
    with pytest.raises(UserError, match="its record does not describe the training prompts"):
        refuse_overlap(evaluator, [{"testbed": "elsewhere"}])


def test_places_are_golden() -> None:
    """The parts of a data set are the same for ever: a change of hash would leak evaluation into training.

    SHA-256 of "hello there" begins 12998c017066eb0d2a70b94e6ed31929, whatever the case and spacing.
    """
    key = make_turn_key(Prompt("", (Turn("system", "be nice"), Turn("user", " Hello \n THERE"), Turn("user", "x"))))
    assert key.startswith("12998c017066eb0d2a70b94e6ed31929")
    assert place_key(key, "part") == pytest.approx(0.781532100119, abs=1e-11)
    assert place_key(key, "part") != place_key(key, "validation")
