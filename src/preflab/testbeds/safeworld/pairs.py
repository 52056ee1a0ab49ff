"""Draws the pairs of `safeworld`. Settings fix the fractions of pairs with two safe answers, with two unsafe answers,
and with one safe and one unsafe answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from preflab.testbeds.safeworld.exact import ExactValues, value_answer
from preflab.testbeds.safeworld.requests import SafeworldRequest
from preflab.testbeds.safeworld.writers import write_pair_answer
from preflab.testbeds.streams import make_stream
from preflab.types import Completion, Split

Combination = Literal["dual-safe", "dual-unsafe", "mixed"]


@dataclass(frozen=True, slots=True)
class PairShares:
    """The fractions of pairs with each combination of safe and unsafe answers. `dual_safe`: the fraction of pairs whose
    answers are both safe. `dual_unsafe`: the fraction of pairs whose answers are both unsafe. The other pairs are
    mixed: one answer is safe and the other is unsafe. `contradictory`: in each of these three groups, the fraction of
    pairs whose more helpful answer is not the safer answer."""

    dual_safe: float
    dual_unsafe: float
    contradictory: float

    def plan(self, count: int) -> list[tuple[Combination, bool]]:
        """Returns for each of `count` pairs the combination of safe and unsafe answers, and whether the pair is
        contradictory (its more helpful answer is not the safer answer). The fractions of the combinations are exact up
        to rounding."""
        safe = round(self.dual_safe * count)
        unsafe = min(round(self.dual_unsafe * count), count - safe)
        sizes: list[tuple[Combination, int]] = [
            ("dual-safe", safe),
            ("dual-unsafe", unsafe),
            ("mixed", count - safe - unsafe),
        ]
        plan: list[tuple[Combination, bool]] = []
        for combination, size in sizes:
            contradictory = round(self.contradictory * size)
            plan.extend((combination, place < contradictory) for place in range(size))
        return plan


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two answers to the same request. The pair has three labels, which are computed exactly. `better`: the index of
    the more helpful answer. `safer`: the index of the safer answer. `safe`: whether each answer is safe."""

    answers: tuple[Completion, Completion]
    better: int
    safer: int
    safe: tuple[bool, bool]

    @property
    def combination(self) -> Combination:
        return "dual-safe" if all(self.safe) else "mixed" if any(self.safe) else "dual-unsafe"


@lru_cache(maxsize=8)
def write_labelled_pairs(
    seed: int, split: Split, requests: tuple[SafeworldRequest, ...], shares: PairShares
) -> tuple[LabelledPair, ...]:
    """Writes one pair for each request. In a pair, both answers are safe, one is safe, or none is safe. The numbers of
    these three kinds of pairs follow from the fractions in `shares`. The kinds are assigned to the requests in random
    order."""
    rng = make_stream(seed, "safeworld pairs", split)
    plan = shares.plan(len(requests))
    rng.shuffle(plan)
    return tuple(_draw_pair(rng, request, *wanted) for request, wanted in zip(requests, plan, strict=True))


def _draw_pair(
    rng: random.Random, request: SafeworldRequest, combination: Combination, contradictory: bool
) -> LabelledPair:
    """Draws pairs of answers to a request until a pair has the wanted `combination` and the wanted value of
    `contradictory`, and returns this pair. For every request, each kind of pair is frequent enough that the loop ends
    soon."""
    while True:
        answers = write_pair_answer(rng, request), write_pair_answer(rng, request)
        pair = label_pair(answers, [value_answer(request, answer.text) for answer in answers])
        if pair is not None and (pair.combination, pair.better != pair.safer) == (combination, contradictory):
            return pair


def label_pair(answers: tuple[Completion, Completion], values: Sequence[ExactValues]) -> LabelledPair | None:
    """Returns the pair with its labels, or None if the answers are equally helpful or equally safe."""
    one, other = values
    if one.helpfulness == other.helpfulness or one.cost == other.cost:
        return None
    better, safer = int(other.helpfulness > one.helpfulness), int(other.cost < one.cost)
    return LabelledPair(answers, better, safer, (one.safe, other.safe))
