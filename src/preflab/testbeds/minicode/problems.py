"""Makes the problems of minicode. A problem consists of a target program, a statement that describes this program, two
public tests and eight hidden tests.

A statement names the steps in words, and ends with the public tests. The steps are in the order of execution, joined by
`then`, or in the reverse order, joined by `of`. Some steps are named vaguely ("first few"), so that only the public
tests show which step is meant. A problem is kept only if the public tests exclude all wrong readings: every program
that fits the words of the statement and passes the public tests also passes the hidden tests. The statement and the
public tests therefore determine the answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product

from preflab.testbeds.minicode import behaviour
from preflab.testbeds.minicode.behaviour import PROBES, STEPS, MinicodeProgram, evaluate_program, list_near_misses
from preflab.testbeds.minicode.language import COMPARISONS, OPERATORS, MinicodeValue
from preflab.testbeds.streams import make_stream
from preflab.types import Problem, Split, Test, Turn

LEVELS = {"introductory": 2, "interview": 3, "competition": 4}  # the number of steps of the target program
PUBLIC_TESTS = 2
HIDDEN_TESTS = 8
_MOST_SHOWN = 99  # the largest absolute value in a test; larger integers are not in the vocabulary


@dataclass(frozen=True, slots=True)
class MinicodeTask:
    """A problem with all its tests, and the target program from which the problem was made."""

    problem: Problem
    target: MinicodeProgram


@lru_cache(maxsize=8)
def make_tasks(seed: int, split: Split, count: int, vague: float, inverted: float) -> tuple[MinicodeTask, ...]:
    """Makes the first `count` tasks of a split. The levels of the tasks alternate in the order of `LEVELS`. No two
    tasks have the same behaviour, even if they are in different splits. `vague`: the probability that a statement uses
    the vague phrase of a step, if the step has a vague phrase. `inverted`: the probability that a statement names the
    last step first."""
    rng = make_stream(seed, split)
    tasks: list[MinicodeTask] = []
    behaviours: set[behaviour.Behaviour] = set()
    while len(tasks) < count:
        level = list(LEVELS)[len(tasks) % len(LEVELS)]
        target = _draw_target(rng, LEVELS[level])
        values = behaviour.find_behaviour(target)
        if values in behaviours or behaviour.assign_split(values) != split or not _is_interesting(target, values):
            continue
        problem = _make_problem(rng, target, f"{split}-{len(tasks):05d}", level, vague, inverted)
        if problem is not None:
            behaviours.add(values)
            tasks.append(MinicodeTask(problem, target))
    return tuple(tasks)


def _draw_target(rng: random.Random, steps: int) -> MinicodeProgram:
    """Draws a target program with different operators whose types match. After a `fold` operator, which returns an
    integer, all steps must accept a single integer."""
    names = rng.sample(list(STEPS), steps)
    while any(OPERATORS[a].shape == "fold" and OPERATORS[b].shape != "each" for a, b in combinations(names, 2)):
        names = rng.sample(list(STEPS), steps)
    return tuple([rng.choice(STEPS[name]) for name in names])


def _is_interesting(target: MinicodeProgram, values: behaviour.Behaviour) -> bool:
    """Checks whether a target makes a good problem. The target must have small outputs for most probes, must be neither
    constant nor the identity, and must need all its steps."""
    small = [value for value in values if _is_small(value)]
    if len(small) < len(PROBES) * 3 // 4 or len(set(small)) < 4 or values == PROBES:
        return False
    shorter = (target[:index] + target[index + 1 :] for index in range(len(target)))
    return not any(behaviour.agrees_on(program, PROBES, values) for program in shorter)


def _is_small(value: MinicodeValue | None) -> bool:
    if isinstance(value, int):
        return abs(value) <= _MOST_SHOWN
    return value is not None and all(abs(item) <= _MOST_SHOWN for item in value)


def _make_problem(
    rng: random.Random, target: MinicodeProgram, name: str, level: str, vague: float, inverted: float
) -> Problem | None:
    """Makes a problem for a target. Returns None if too few hidden tests can be drawn, or if every program that differs
    from the target by one small mistake passes the hidden tests. Also returns None if no drawn public tests exclude all
    wrong readings of the statement."""
    hidden = _draw_hidden_tests(rng, target)
    if len(hidden) < HIDDEN_TESTS or all(passes_tests(program, hidden) for program in list_near_misses(target)):
        return None
    phrases = [_choose_phrase(rng, text, vague) for text in target]
    words = " of ".join(reversed(phrases)) if rng.random() < inverted else " then ".join(phrases)
    others = [program for program in list_readings(phrases, target) if not passes_tests(program, hidden)]
    for _ in range(10):
        public = _draw_public_tests(rng, target)
        if len(public) == PUBLIC_TESTS and not any(passes_tests(program, public) for program in others):
            turn = Turn("user", f"{words} : {' ; '.join(map(_format_test, public))}")
            return Problem(name, (turn,), level, public, hidden)
    return None


def _choose_phrase(rng: random.Random, text: str, vague: float) -> str:
    phrases, loose = list_phrases(text)
    return loose if loose and rng.random() < vague else rng.choice(phrases)


def list_phrases(text: str) -> tuple[list[str], str]:
    """Returns the phrases that name a step exactly, and the vague phrase ('' if the step has no vague phrase)."""
    name, *words = text.split()
    operator = OPERATORS[name]
    argument, loose = " ".join(words), operator.vague
    if words and words[0] in COMPARISONS:
        full, vague = COMPARISONS[words[0]]
        argument, loose = full.format(words[1]), operator.phrases[0].format(vague)
    return [phrase.format(argument) for phrase in operator.phrases], loose


def _collect_vague_steps() -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for text in (text for texts in STEPS.values() for text in texts):
        loose = list_phrases(text)[1]
        if loose:
            table.setdefault(loose, []).append(text)
    return table


VAGUE_STEPS = _collect_vague_steps()
"""Maps each vague phrase to the steps that it can mean."""


def list_readings(phrases: Sequence[str], target: MinicodeProgram) -> Iterator[MinicodeProgram]:
    """Yields every program that a statement with these phrases can mean, including the target. Phrase i names step i of
    the program."""
    return product(*(VAGUE_STEPS.get(phrase, [text]) for phrase, text in zip(phrases, target, strict=True)))


def passes_tests(program: MinicodeProgram, tests: Sequence[Test]) -> bool:
    """Checks whether a program passes all tests."""
    return all(evaluate_program(program, test.input) == test.output for test in tests)


def _draw_tests(rng: random.Random, target: MinicodeProgram, least: int, most: int) -> Iterator[Test]:
    for _ in range(16):
        case = behaviour.draw_integers(rng, rng.randrange(least, most + 1))
        value = evaluate_program(target, case)
        if value is not None and _is_small(value):
            yield Test(case, value)


def _draw_public_tests(rng: random.Random, target: MinicodeProgram) -> tuple[Test, ...]:
    """Draws two tests with short inputs. The outputs of the two tests are different and are not empty. The number of
    draws is limited. Returns fewer than two tests if these draws do not give two suitable tests."""
    tests: dict[MinicodeValue, Test] = {}
    for test in _draw_tests(rng, target, 3, 4):
        if test.output != ():
            tests.setdefault(test.output, test)
        if len(tests) == PUBLIC_TESTS:
            break
    return tuple(tests.values())


def _draw_hidden_tests(rng: random.Random, target: MinicodeProgram) -> tuple[Test, ...]:
    return tuple([test for test, _ in zip(_draw_tests(rng, target, 3, 8), range(HIDDEN_TESTS), strict=False)])


def _format_test(test: Test) -> str:
    return f"{_format_value(test.input)} -> {_format_value(test.output)}"


def _format_value(value: MinicodeValue) -> str:
    return str(value) if isinstance(value, int) else " ".join(map(str, value))
