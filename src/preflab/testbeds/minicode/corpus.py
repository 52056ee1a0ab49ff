"""Writes the answers in the data: right programs with some steps reworded, wrong programs that almost solve the
problem, and pairs of a right and a wrong program.

The seed of these answers is independent of the seed of the problems. A new seed for the answers changes the wrong
programs, the wordings and the pairs, but not the problems.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from preflab.testbeds.minicode.behaviour import OPPOSITES, MinicodeProgram, list_near_misses
from preflab.testbeds.minicode.problems import MinicodeTask, passes_tests
from preflab.testbeds.streams import make_stream
from preflab.types import Completion

_REWORDED_SHARE = 0.25  # the probability that a step is reworded, if the step has another wording


def write_demonstrations(tasks: Sequence[MinicodeTask], wrong_share: float, seed: int, split: str) -> list[Completion]:
    """Writes one program for each task. A random selection of the programs is wrong. The fraction of wrong programs is
    exactly `wrong_share`, up to rounding."""
    rng = make_stream(seed, "demonstrations", split)
    wrong = set(rng.sample(range(len(tasks)), round(wrong_share * len(tasks))))
    writers = [write_wrong_answer if index in wrong else write_right_answer for index in range(len(tasks))]
    return [write(rng, task) for write, task in zip(writers, tasks, strict=True)]


def write_pairs(tasks: Sequence[MinicodeTask], seed: int, split: str) -> list[tuple[Completion, Completion]]:
    """Writes one pair for each task. A pair is a right program and a wrong program."""
    rng = make_stream(seed, "pairs", split)
    return [(write_right_answer(rng, task), write_wrong_answer(rng, task)) for task in tasks]


def write_right_answer(rng: random.Random, task: MinicodeTask) -> Completion:
    """Returns the target program with some steps reworded. A reworded step has the same meaning."""
    steps = [reword_step(text) if rng.random() < _REWORDED_SHARE else (text,) for text in task.target]
    return _to_completion(tuple(text for program in steps for text in program))


def write_wrong_answer(rng: random.Random, task: MinicodeTask) -> Completion:
    """Returns a program that differs from the target by one small mistake, and that fails a hidden test."""
    candidates = list(list_near_misses(task.target))
    rng.shuffle(candidates)
    wrong = next(program for program in candidates if not passes_tests(program, task.problem.hidden_tests))
    return _to_completion(wrong)


def reword_step(text: str) -> MinicodeProgram:
    """Returns one or two steps that do the same as a step but are written differently. Returns the step itself if it
    has no other wording."""
    match text.split():
        case ["keep" | "reject" as name, "even" | "odd" as parity]:
            return (f"{_OTHER[name]} {_OTHER[parity]}",)
        case ["keep" | "reject" as name, ">" | "<" as sign, number]:
            bound = int(number) + (1 if sign == ">" else -1)
            return (f"{_OTHER[name]} {_OTHER[sign]} {bound}",)
        case ["add" | "sub" as name, number]:
            return (f"{_OTHER[name]} {-int(number)}",)
        case ["count", *condition]:
            return (" ".join(("keep", *condition)), "len")
        case _:
            return _WRITTEN.get(text, (text,))


_OTHER = {**OPPOSITES, "keep": "reject", "reject": "keep", "add": "sub", "sub": "add"}
_WRITTEN: dict[str, MinicodeProgram] = {
    "neg": ("mul -1",),
    "down": ("sort", "reverse"),
    "max": ("sort", "last"),
    "min": ("sort", "first"),
    "last": ("reverse", "first"),
    "first": ("take 1", "sum"),
}


def _to_completion(program: MinicodeProgram) -> Completion:
    return Completion(" | ".join(program))
