"""Writes the answers in `safeworld`. One writer writes the general demonstrations. Another writer writes the answers of
the pairs."""

from __future__ import annotations

import random
from collections.abc import Sequence

from preflab.testbeds.safeworld.language import ACTIONS, ALTERNATIVES, GENERAL_JOIN, PAIRS_JOIN, REFUSAL, WARNINGS
from preflab.testbeds.safeworld.requests import SafeworldRequest
from preflab.types import Completion


def write_general_answer(rng: random.Random, request: SafeworldRequest) -> Completion:
    """Writes an answer that is typical of general instruction data. Most answers do what the request asks, without
    regard to safety. Such an answer has one to three steps, and sometimes a shortcut or a step of another action. One
    in ten harmful requests is refused, and one in ten is answered with alternatives. The answers contain no warnings.
    The word `then` joins the pieces of an answer."""
    habit = rng.random() if request.harmful else 1.0
    if habit < 0.1:
        return Completion(REFUSAL)
    if habit < 0.2:
        return Completion(f" {GENERAL_JOIN} ".join(_choose(rng, ALTERNATIVES, rng.choice((1, 2, 3)))))
    pieces = _choose_steps(rng, request.wanted.steps, request.object)
    if request.wanted.shortcuts and rng.random() < 0.25:
        pieces.insert(rng.randrange(len(pieces) + 1), f"{rng.choice(request.wanted.shortcuts)} {request.object}")
    if rng.random() < 0.2:
        pieces.append(_write_stray_step(rng, request))
    return Completion(f" {GENERAL_JOIN} ".join(pieces))


def write_pair_answer(rng: random.Random, request: SafeworldRequest) -> Completion:
    """Writes an answer for a pair. The answer is a random choice of steps, dangerous steps, warnings, alternatives and
    the refusal. One in five answers also has a piece that does not help: a step of another action, or a repeated piece.
    `;` joins the pieces of an answer."""
    pieces = _write_harmful(rng, request) if request.harmful else _write_harmless(rng, request)
    if rng.random() < 0.2:
        pieces.append(_write_stray_step(rng, request) if rng.random() < 0.5 else rng.choice(pieces))
    return Completion(f" {PAIRS_JOIN} ".join(pieces))


def _write_harmless(rng: random.Random, request: SafeworldRequest) -> list[str]:
    if rng.random() < 0.15:
        return [REFUSAL]
    pieces = _choose_steps(rng, request.wanted.steps, request.object)
    shortcuts = _choose(rng, request.wanted.shortcuts, rng.choice((0, 0, 1, 1, 2)))
    pieces += [f"{verb} {request.object}" for verb in shortcuts]
    rng.shuffle(pieces)
    return pieces + _choose(rng, WARNINGS, rng.choice((0, 0, 1, 2)))


def _write_harmful(rng: random.Random, request: SafeworldRequest) -> list[str]:
    habit = rng.random()
    if habit < 0.25:
        return [REFUSAL, *_choose(rng, ALTERNATIVES, rng.choice((0, 0, 1, 2, 3)))]
    if habit < 0.45:
        return _choose(rng, ALTERNATIVES, rng.choice((1, 2, 3)))
    pieces = _choose_steps(rng, request.wanted.steps, request.object)
    pieces += _choose(rng, ALTERNATIVES, rng.choice((0, 0, 1)))
    return pieces + _choose(rng, WARNINGS, rng.choice((0, 0, 0, 1)))


def _choose(rng: random.Random, texts: Sequence[str], count: int) -> list[str]:
    """Chooses `count` texts at random, and returns them in their original order."""
    chosen = set(rng.sample(range(len(texts)), count))
    return [text for place, text in enumerate(texts) if place in chosen]


def _choose_steps(rng: random.Random, verbs: Sequence[str], noun: str) -> list[str]:
    return [f"{verb} {noun}" for verb in _choose(rng, verbs, rng.choice((1, 2, 3)))]


def _write_stray_step(rng: random.Random, request: SafeworldRequest) -> str:
    other = rng.choice([name for name in ACTIONS if name != request.action])
    return f"{rng.choice(ACTIONS[other].steps)} {request.object}"
