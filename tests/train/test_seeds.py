"""Named draws: the same order at every call, and one shuffle for all steps of a pass."""

from __future__ import annotations

import random

import pytest

from preflab.train.seeds import Seeds


def test_a_pass_is_shuffled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects large data: a shuffle at every step made a pass over 200,000 rows quadratic (286 s)."""
    shuffles: list[int] = []
    shuffle = random.Random.shuffle
    monkeypatch.setattr(random.Random, "shuffle", lambda self, x: (shuffles.append(len(x)), shuffle(self, x))[1])
    seeds = Seeds(0)
    rows = [row for step in range(5) for row in seeds.take_batch(step, size=9, batch_size=2)]
    assert sorted(rows) == list(range(9))
    assert shuffles == [9]
    places = [row for step in range(6) for row in seeds.take_exactly(step, size=9, count=3)]
    assert places[:9] == rows and sorted(places[9:]) == list(range(9))
    assert shuffles == [9, 9], "the second pass is shuffled once, and the first not again"


def test_an_order_depends_on_the_seed_and_the_name_alone() -> None:
    """A draw is the same whatever was drawn before."""
    fresh, used = Seeds(3), Seeds(3)
    for name in ("a", "b", "c"):
        used.permute(20, name)
    assert fresh.permute(20, "a") == used.permute(20, "a")
    assert len({fresh.permute(20, "a"), fresh.permute(20, "b"), Seeds(4).permute(20, "a")}) == 3
