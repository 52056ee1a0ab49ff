"""Problems: a target program, a statement that describes it, two public and eight hidden tests.

A statement says the steps in words, in the order of execution (`then`) or inside out (`of`), followed by the public
tests. Some steps are said vaguely ("first few"); then the public tests decide. A problem is kept only if every reading
of its statement that passes the public tests passes the hidden ones too, so that each problem has an answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product

from preflab.testbeds.minicode.behaviour import (
    PROBES,
    STEPS,
    Behaviour,
    Program,
    behaviour,
    integers,
    near_misses,
    same_on,
    split_of,
    stream,
    value_of,
)
from preflab.testbeds.minicode.language import COMPARISONS, OPERATORS, Value
from preflab.types import Problem, Split, Test, Turn

LEVELS = {"introductory": 2, "interview": 3, "competition": 4}  # steps of the target
PUBLIC_TESTS = 2
HIDDEN_TESTS = 8
SHOWN = 99  # values of tests stay within, so that each is one word


@dataclass(frozen=True, slots=True)
class Task:
    """A problem with all its tests, and the program from which it was made."""

    problem: Problem
    target: Program


@dataclass(frozen=True, slots=True)
class Phrasing:
    """How statements are worded: the shares of steps said vaguely and of statements said inside out."""

    vague: float
    inverted: float


@lru_cache(maxsize=8)
def tasks(seed: int, split: Split, count: int, phrasing: Phrasing) -> tuple[Task, ...]:
    """The first `count` tasks of a split, levels in turn. Each has a behaviour of its own, found in no other split."""
    rng = stream(seed, split)
    found: list[Task] = []
    seen: set[Behaviour] = set()
    while len(found) < count:
        level = list(LEVELS)[len(found) % len(LEVELS)]
        target = _target(rng, LEVELS[level])
        values = behaviour(target)
        if values in seen or split_of(values) != split or not _interesting(target, values):
            continue
        problem = _problem(rng, target, f"{split}-{len(found):05d}", level, phrasing)
        if problem is not None:
            seen.add(values)
            found.append(Task(problem, target))
    return tuple(found)


def _target(rng: random.Random, steps: int) -> Program:
    """Steps of different operators whose types fit: after a fold, only what works on a lone integer."""
    names = rng.sample(list(STEPS), steps)
    while any(OPERATORS[a].shape == "fold" and OPERATORS[b].shape != "each" for a, b in combinations(names, 2)):
        names = rng.sample(list(STEPS), steps)
    return tuple([rng.choice(STEPS[name]) for name in names])


def _interesting(target: Program, values: Behaviour) -> bool:
    """Defined and small on most probes, neither constant nor the identity, and no step of it is idle."""
    shown = [value for value in values if _shown(value)]
    if len(shown) < len(PROBES) * 3 // 4 or len(set(shown)) < 4 or same_on(target, PROBES, PROBES):
        return False
    shorter = (target[:index] + target[index + 1 :] for index in range(len(target)))
    return not any(same_on(program, PROBES, values) for program in shorter)


def _shown(value: Value | None) -> bool:
    if isinstance(value, int):
        return abs(value) <= SHOWN
    return value is not None and all(abs(item) <= SHOWN for item in value)


def _problem(rng: random.Random, target: Program, name: str, level: str, phrasing: Phrasing) -> Problem | None:
    """A problem for a target; None where too few tests are found, or none that decides what the statement means."""
    hidden = _hidden_tests(rng, target)
    if len(hidden) < HIDDEN_TESTS or all(passes(program, hidden) for program in near_misses(target)):
        return None
    said = [_phrase(rng, text, phrasing.vague) for text in target]
    inverted = rng.random() < phrasing.inverted
    words = " of ".join(reversed(said)) if inverted else " then ".join(said)
    others = [program for program in readings(said, target) if not passes(program, hidden)]
    for _ in range(10):
        public = _public_tests(rng, target)
        if len(public) == PUBLIC_TESTS and not any(passes(program, public) for program in others):
            turn = Turn("user", f"{words} : {' ; '.join(map(_shown_test, public))}")
            return Problem(name, (turn,), level, public, hidden)
    return None


def _phrase(rng: random.Random, text: str, vague: float) -> str:
    phrases, loose = phrases_of(text)
    return loose if loose and rng.random() < vague else rng.choice(phrases)


def phrases_of(text: str) -> tuple[list[str], str]:
    """The phrases that say a step in full, and the vague one ('' when there is none)."""
    name, *words = text.split()
    operator = OPERATORS[name]
    if words and words[0] in COMPARISONS:
        full, loose = COMPARISONS[words[0]]
        argument = full.format(words[1])
        return [phrase.format(argument) for phrase in operator.phrases], operator.phrases[0].format(loose)
    argument = " ".join(words)
    return [phrase.format(argument) for phrase in operator.phrases], operator.vague


def _vague_steps() -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for text in (text for texts in STEPS.values() for text in texts):
        loose = phrases_of(text)[1]
        if loose:
            table.setdefault(loose, []).append(text)
    return table


VAGUE_STEPS = _vague_steps()
"""What each vague phrase may mean."""


def readings(said: Sequence[str], target: Program) -> Iterator[Program]:
    """Every program that the phrases may mean, step by step, the target included."""
    return product(*(VAGUE_STEPS.get(phrase, [text]) for phrase, text in zip(said, target, strict=True)))


def passes(program: Program, tests: Sequence[Test]) -> bool:
    """Whether a program passes all tests."""
    return all(value_of(program, test.input) == test.output for test in tests)


def _drawn(rng: random.Random, target: Program, least: int, most: int) -> Iterator[Test]:
    for _ in range(16):
        given = integers(rng, rng.randrange(least, most + 1))
        value = value_of(target, given)
        if value is not None and _shown(value):
            yield Test(given, value)


def _public_tests(rng: random.Random, target: Program) -> tuple[Test, ...]:
    """Two tests with short inputs, different values and nothing empty; fewer where a few draws do not give them."""
    found: dict[Value, Test] = {}
    for test in _drawn(rng, target, 3, 4):
        if test.output != ():
            found.setdefault(test.output, test)
        if len(found) == PUBLIC_TESTS:
            break
    return tuple(found.values())


def _hidden_tests(rng: random.Random, target: Program) -> tuple[Test, ...]:
    return tuple([test for test, _ in zip(_drawn(rng, target, 3, 8), range(HIDDEN_TESTS), strict=False)])


def _shown_test(test: Test) -> str:
    return f"{_shown_value(test.input)} -> {_shown_value(test.output)}"


def _shown_value(value: Value) -> str:
    return str(value) if isinstance(value, int) else " ".join(map(str, value))
