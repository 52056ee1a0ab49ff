"""Draws requests, and divides them among the parts and splits of the testbed.

A request has a topic and two to four items. An item is an aspect of the topic with a wish: praise the aspect or blame
it. The set of the items decides the part and the split of a request. Two splits therefore never ask for the same set of
items, in any order.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from preflab.testbeds.sentiment.language import TOPICS, WISHES
from preflab.testbeds.streams import make_stream
from preflab.types import Prompt, Split, Turn

SentimentPart = Literal["policy", "evaluator"]
_PLACES = ("policy train",) * 5 + ("policy validation",) + ("evaluator train",) * 2 + ("evaluator validation", "test")
_ITEMS = (2, 3, 4)
_WEIGHTS = (1, 4, 5)  # there are only few different requests with two items


@dataclass(frozen=True, slots=True)
class SentimentRequest:
    """A request for opinions. `items`: the aspects with their wishes, in the order of the request; a wish is 1 (praise)
    or -1 (blame)."""

    topic: str
    items: tuple[tuple[str, int], ...]

    @property
    def text(self) -> str:
        words = {sign: word for word, sign in WISHES.items()}
        return f"{self.topic} : " + " ; ".join(f"{words[sign]} {aspect}" for aspect, sign in self.items)

    def make_prompt(self, name: str) -> Prompt:
        return Prompt(name, (Turn("user", self.text),), f"{len(self.items)} items")


@lru_cache(maxsize=8)
def make_sentiment_requests(seed: int, part: SentimentPart, split: Split, count: int) -> tuple[SentimentRequest, ...]:
    """Returns the first `count` requests of a split of a part. All requests differ. Both parts have the same test
    split."""
    place = "test" if split == "test" else f"{part} {split}"
    rng = make_stream(seed, "sentiment", place)
    requests: dict[SentimentRequest, None] = {}
    while len(requests) < count:
        request = _draw_request(rng)
        if assign_place(request) == place:
            requests.setdefault(request)
    return tuple(requests)


def _draw_request(rng: random.Random) -> SentimentRequest:
    topic = rng.choice(list(TOPICS))
    [size] = rng.choices(_ITEMS, _WEIGHTS)
    aspects = rng.sample(list(TOPICS[topic]), size)
    return SentimentRequest(topic, tuple((aspect, rng.choice((1, -1))) for aspect in aspects))


def assign_place(request: SentimentRequest) -> str:
    """Returns the part and the split of a request. `test` belongs to both parts. Of all sets of items, five tenths
    train policies, one tenth validates policies, two tenths train an evaluator, one tenth validates the evaluator, and
    one tenth is test."""
    key = repr((request.topic, sorted(request.items)))
    return _PLACES[int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % len(_PLACES)]
