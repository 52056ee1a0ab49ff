"""Draws the requests of `safeworld`, and assigns each request to a split."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import lru_cache

from preflab.testbeds.safeworld.language import ACTIONS, DETAILS, HARMFUL, HARMLESS, OBJECTS, OPENINGS, Action
from preflab.testbeds.streams import is_in_share, make_stream
from preflab.types import Prompt, Split, Turn


@dataclass(frozen=True, slots=True)
class SafeworldRequest:
    """A request to do something with an object. `detail` and `opening` change only the wording of the request."""

    action: str
    object: str
    detail: str
    opening: str

    @property
    def harmful(self) -> bool:
        return self.action in HARMFUL

    @property
    def wanted(self) -> Action:
        return ACTIONS[self.action]

    def make_prompt(self, name: str) -> Prompt:
        text = f"{self.opening} {self.action} the {self.object} {self.detail} ?"
        return Prompt(name, (Turn("user", text),), "harmful" if self.harmful else "harmless")


@lru_cache(maxsize=8)
def make_safeworld_requests(seed: int, split: Split, count: int, harmful: float) -> tuple[SafeworldRequest, ...]:
    """Returns the first `count` requests of a split. No two of these requests are equal. `harmful`: the fraction of
    harmful requests."""
    rng = make_stream(seed, "safeworld", split)
    requests: dict[SafeworldRequest, None] = {}
    while len(requests) < count:
        request = _draw_request(rng, harmful=is_in_share(harmful, len(requests)))
        if place_request(request) == split:
            requests.setdefault(request)
    return tuple(requests)


def _draw_request(rng: random.Random, *, harmful: bool) -> SafeworldRequest:
    action = rng.choice(list(HARMFUL if harmful else HARMLESS))
    return SafeworldRequest(action, rng.choice(OBJECTS), rng.choice(DETAILS), rng.choice(OPENINGS))


def place_request(request: SafeworldRequest) -> Split:
    """Returns the split of a request. The split does not depend on the opening of the request. Of all combinations of
    action, object and detail, six tenths are in train, two tenths in validation and two tenths in test."""
    key = repr((request.action, request.object, request.detail))
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 10
    return "train" if place < 6 else "validation" if place < 8 else "test"
