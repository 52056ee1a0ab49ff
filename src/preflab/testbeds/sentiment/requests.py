"""Draws requests, and assigns each request to a part and a split of the testbed.

A request has a topic and two to four items. An item is an aspect of the topic, together with a wish: to praise the
aspect or to blame it. The set of the items decides the part and the split of a request, and the order of the items does
not matter. The same set of items is therefore never in two splits.
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
_WEIGHTS = (1, 4, 5)  # requests with two items are rare, because only few different requests have two items


@dataclass(frozen=True, slots=True)
class SentimentRequest:
    """A request for opinions. `items`: the aspects with their wishes, in the order of the request. A wish is 1 (praise)
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
    """Returns the first `count` requests of a split in one part of the testbed. No two of these requests are equal. The
    test split is the same for both parts."""
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
    """Returns the name of the part and split to which a request belongs, such as "policy train". The test split is the
    same for both parts, and its name is "test". Of all sets of items, five tenths train policies, one tenth validates
    policies, two tenths train an evaluator, one tenth validates the evaluator, and one tenth is the test split."""
    key = repr((request.topic, sorted(request.items)))
    return _PLACES[int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % len(_PLACES)]
