"""Simulates writers who answer requests with more or less skill. Their answers are used in demonstrations, pairs and
rankings."""

from __future__ import annotations

import random
from itertools import pairwise

from preflab.testbeds.sentiment.language import ASPECT_KINDS, DEGREES, GENERAL, OPINIONS, TOPICS, value_opinion
from preflab.testbeds.sentiment.requests import SentimentRequest
from preflab.types import Completion

_DEGREES = tuple(DEGREES)


def write_answer(rng: random.Random, request: SentimentRequest, skill: float) -> Completion:
    """Writes an answer to a request. `skill`: the skill of the writer, from 0 to 1. A writer with skill 0 often uses
    general opinion words, and sometimes makes other mistakes: leaves out an item, confuses praise and blame, adds an
    aspect, or chooses a join at random. All of this is rarer with more skill."""
    careless = 1 - skill
    said: list[tuple[str, int]] = []
    for aspect, wish in request.items:
        if rng.random() >= 0.15 * careless:
            said.append((aspect, -wish if rng.random() < 0.25 * careless else wish))
    if rng.random() < 0.15 * careless:
        said.append((rng.choice(list(TOPICS[request.topic])), rng.choice((1, -1))))
    said = said or [request.items[0]]
    words = _write_clause(rng, *said[0], skill)
    for (_, before), (aspect, sign) in pairwise(said):
        right = "and" if before == sign else "but"
        words += [right if rng.random() >= 0.4 * careless else rng.choice(("and", "but"))]
        words += _write_clause(rng, aspect, sign, skill)
    return Completion(" ".join(words))


def _write_clause(rng: random.Random, aspect: str, sign: int, skill: float) -> list[str]:
    negated = rng.random() < 0.15 * (1 - skill)
    suiting = OPINIONS[ASPECT_KINDS[aspect]] if rng.random() < 0.1 + 0.8 * skill else GENERAL
    wanted = -sign if negated else sign
    strong, mild = sorted(
        (word for word in suiting if value_opinion(aspect, word) * wanted > 0),
        key=lambda word: -abs(value_opinion(aspect, word)),
    )
    opinion = strong if rng.random() < 0.3 + 0.5 * skill else mild
    [degree] = rng.choices(_DEGREES, (0.6 - 0.4 * skill, 0.1 + 0.6 * skill, 0.15 - 0.1 * skill, 0.15 - 0.1 * skill))
    return [aspect, "is", *(["not"] if negated else []), *([degree] if degree else []), opinion]
