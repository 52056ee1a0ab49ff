"""Answers that come with the data: right programs in other words, wrong ones that are near misses, and pairs of both.

Everything here is drawn by a seed of its own, apart from the problems': a new seed gives the same problems with other
noise, other wordings and other pairs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from preflab.testbeds.minicode.behaviour import Program, near_misses, stream
from preflab.testbeds.minicode.problems import Task, passes
from preflab.types import Completion

REWORDED = 0.25  # how often a step that can be written otherwise is


def demonstrations(tasks: Sequence[Task], wrong_share: float, seed: int, split: str) -> list[Completion]:
    """One program a task; exactly `wrong_share` of them (rounded) are wrong, at random places."""
    rng = stream(seed, "demonstrations", split)
    wrong = set(rng.sample(range(len(tasks)), round(wrong_share * len(tasks))))
    return [wrong_answer(rng, task) if index in wrong else right_answer(rng, task) for index, task in enumerate(tasks)]


def pairs(tasks: Sequence[Task], seed: int, split: str) -> list[tuple[Completion, Completion]]:
    """One pair a task: a right program and a wrong one."""
    rng = stream(seed, "pairs", split)
    return [(right_answer(rng, task), wrong_answer(rng, task)) for task in tasks]


def right_answer(rng: random.Random, task: Task) -> Completion:
    """The target, some of its steps written in another way with the same meaning."""
    steps = [reworded(text) if rng.random() < REWORDED else (text,) for text in task.target]
    return _completion(tuple(text for program in steps for text in program))


def wrong_answer(rng: random.Random, task: Task) -> Completion:
    """A near miss of the target that fails a hidden test."""
    candidates = list(near_misses(task.target))
    rng.shuffle(candidates)
    wrong = next(program for program in candidates if not passes(program, task.problem.hidden_tests))
    return _completion(wrong)


def reworded(text: str) -> Program:
    """Another way to write a step, the step itself where there is none."""
    match text.split():
        case ["keep" | "reject" as name, "even" | "odd" as parity]:
            return (f"{_OTHER[name]} {_OTHER[parity]}",)
        case ["keep" | "reject" as name, ">" as sign, number]:
            return (f"{_OTHER[name]} {_OTHER[sign]} {int(number) + 1}",)
        case ["keep" | "reject" as name, "<" as sign, number]:
            return (f"{_OTHER[name]} {_OTHER[sign]} {int(number) - 1}",)
        case ["add" | "sub" as name, number]:
            return (f"{_OTHER[name]} {-int(number)}",)
        case ["count", *condition]:
            return (" ".join(("keep", *condition)), "len")
        case _:
            return _WRITTEN.get(text, (text,))


_OTHER = {
    "keep": "reject",
    "reject": "keep",
    "even": "odd",
    "odd": "even",
    ">": "<",
    "<": ">",
    "add": "sub",
    "sub": "add",
}
_WRITTEN: dict[str, Program] = {
    "neg": ("mul -1",),
    "down": ("sort", "reverse"),
    "max": ("sort", "last"),
    "min": ("sort", "first"),
    "last": ("reverse", "first"),
    "first": ("take 1", "sum"),
}


def _completion(program: Program) -> Completion:
    return Completion(" | ".join(program))
