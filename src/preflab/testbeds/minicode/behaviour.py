"""Computes the outputs of programs on fixed inputs, and lists the programs that differ from a given program by one
small mistake.

A program is a tuple of step texts. The *behaviour* of a program is the tuple of its outputs on the probes. The probes
are a fixed list of inputs. A hash of the behaviour decides the split of the program. Programs with the same behaviour
are therefore always in the same split.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from functools import cache

from preflab.testbeds.minicode import language
from preflab.testbeds.minicode.language import OPERATORS, MinicodeValue
from preflab.testbeds.streams import make_stream
from preflab.types import Split

MinicodeProgram = tuple[str, ...]  # the texts of the steps, such as ("keep even", "sum")
Behaviour = tuple[MinicodeValue | None, ...]  # the output for each probe; None if the program fails on the probe

_NUMBERS = {
    **dict.fromkeys(("add", "sub"), range(1, 6)),
    **dict.fromkeys(("mul", "div"), range(2, 5)),
    "mod": range(2, 6),
    "cap": range(7),
    "floor": range(-3, 4),
    **dict.fromkeys(("take", "drop", "tail", "rotate"), range(1, 5)),
}
OPPOSITES = {"even": "odd", "odd": "even", ">": "<", "<": ">"}


def draw_integers(rng: random.Random, length: int) -> tuple[int, ...]:
    """Draws a list of `length` random integers from -9 to 9, and returns the list as a tuple."""
    return tuple(rng.choices(range(-9, 10), k=length))


PROBES = tuple(draw_integers(make_stream(0, "probes", index), index % 8 + 1) for index in range(24))


def _list_arguments(operator: str) -> list[str]:
    if OPERATORS[operator].argument == "condition":
        return ["even", "odd", *(f"{sign} {number}" for sign in "><" for number in range(-3, 5))]
    return [str(number) for number in _NUMBERS.get(operator, ())]


STEPS: dict[str, list[str]] = {
    name: [f"{name} {argument}" for argument in _list_arguments(name)] or [name] for name in OPERATORS
}
"""Maps each operator to the steps that use it. Target programs are made from these steps."""


@cache
def _compile_step(text: str) -> language.MinicodeStep:
    return language.compile_program(text)[0]


def evaluate_program(program: MinicodeProgram, value: MinicodeValue) -> MinicodeValue | None:
    """Returns the program's output for an input, or None if the program fails on the input."""
    try:
        return language.run_program(map(_compile_step, program), value)
    except language.RuntimeFault:
        return None


def find_behaviour(program: MinicodeProgram) -> Behaviour:
    """Returns the behaviour of a program: its output for each probe."""
    return tuple([evaluate_program(program, probe) for probe in PROBES])


def assign_split(values: Behaviour) -> Split:
    """Returns the split to which a behaviour belongs. Of all behaviours, about three fifths are in train, one fifth is
    in validation, and one fifth is in test."""
    bucket = hashlib.sha256(repr(values).encode()).digest()[0] % 5
    return "validation" if bucket == 3 else "test" if bucket == 4 else "train"


def agrees_on(program: MinicodeProgram, inputs: Sequence[MinicodeValue], values: Behaviour) -> bool:
    """Checks whether the program's output for `inputs[i]` is `values[i]`, for every i. Stops at the first
    difference."""
    return all(evaluate_program(program, case) == value for case, value in zip(inputs, values, strict=True))


def list_near_misses(program: MinicodeProgram) -> Iterator[MinicodeProgram]:
    """Yields the programs that differ from a program by one small mistake. A mistake drops a step, swaps two
    neighbouring steps, changes a number by one, or replaces an operator or a condition by a similar one."""
    for index in range(len(program)):
        if len(program) > 1:
            yield program[:index] + program[index + 1 :]
        if index + 1 < len(program):
            yield program[:index] + (program[index + 1], program[index]) + program[index + 2 :]
        for text in _list_slips(program[index]):
            yield program[:index] + (text,) + program[index + 1 :]


@cache
def _list_slips(text: str) -> tuple[str, ...]:
    """Returns the steps that differ from a step by one small mistake: a similar operator, the opposite condition, or a
    number that is one larger or smaller."""
    name, *words = text.split()
    operator = OPERATORS[name]
    texts = [
        " ".join((other.name, *words))
        for other in OPERATORS.values()
        if other is not operator and (other.shape, other.argument) == (operator.shape, operator.argument)
    ]
    if words and words[0] in OPPOSITES:
        texts.append(" ".join((name, OPPOSITES[words[0]], *words[1:])))
    if words and words[-1] not in OPPOSITES:
        least = language.LEAST.get(operator.argument, -99)
        near = [int(words[-1]) + change for change in (-1, 1)]
        texts += [" ".join((name, *words[:-1], str(number))) for number in near if number >= least]
    return tuple(texts)
