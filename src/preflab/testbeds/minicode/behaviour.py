"""Computes what programs do on fixed inputs. Lists the programs that differ from a given program by one slip.

A program is a tuple of step texts. The *behaviour* of a program is its values on the probes, a fixed set of inputs. The
digest of a behaviour decides the split of the program. However many problems are drawn, no behaviour is in two splits.
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

MinicodeProgram = tuple[str, ...]  # step texts: ("keep even", "sum")
Behaviour = tuple[MinicodeValue | None, ...]  # one value for each probe, None if the program has no value on it

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
    """Draws a list of integers from -9 to 9."""
    return tuple(rng.choices(range(-9, 10), k=length))


PROBES = tuple(draw_integers(make_stream(0, "probes", index), index % 8 + 1) for index in range(24))


def _list_arguments(operator: str) -> list[str]:
    if OPERATORS[operator].argument == "condition":
        return ["even", "odd", *(f"{sign} {number}" for sign in "><" for number in range(-3, 5))]
    return [str(number) for number in _NUMBERS.get(operator, ())]


STEPS: dict[str, list[str]] = {
    name: [f"{name} {argument}" for argument in _list_arguments(name)] or [name] for name in OPERATORS
}
"""Maps each operator to the steps with this operator that the target program of a problem may have."""


@cache
def _compile_step(text: str) -> language.MinicodeStep:
    return language.compile_program(text)[0]


def evaluate_program(program: MinicodeProgram, value: MinicodeValue) -> MinicodeValue | None:
    """Returns the program's value on an input; None if the program has no value."""
    try:
        return language.run_program(map(_compile_step, program), value)
    except language.RuntimeFault:
        return None


def find_behaviour(program: MinicodeProgram) -> Behaviour:
    """Returns the program's values on the probes."""
    return tuple([evaluate_program(program, probe) for probe in PROBES])


def assign_split(values: Behaviour) -> Split:
    """Returns the one split to which a behaviour belongs. Of all behaviours, three fifths are train, one fifth
    validation, one fifth test."""
    bucket = hashlib.sha256(repr(values).encode()).digest()[0] % 5
    return "validation" if bucket == 3 else "test" if bucket == 4 else "train"


def agrees_on(program: MinicodeProgram, inputs: Sequence[MinicodeValue], values: Behaviour) -> bool:
    """Checks whether the program has these values on these inputs. Stops at the first difference."""
    return all(evaluate_program(program, case) == value for case, value in zip(inputs, values, strict=True))


def list_near_misses(program: MinicodeProgram) -> Iterator[MinicodeProgram]:
    """Yields the programs that are one slip away: a step dropped, two neighbouring steps swapped, a number off by one,
    or an operator or a comparison replaced by a similar one."""
    for index in range(len(program)):
        if len(program) > 1:
            yield program[:index] + program[index + 1 :]
        if index + 1 < len(program):
            yield program[:index] + (program[index + 1], program[index]) + program[index + 2 :]
        for text in _list_slips(program[index]):
            yield program[:index] + (text,) + program[index + 1 :]


@cache
def _list_slips(text: str) -> tuple[str, ...]:
    """Returns the steps that are one slip away from a step."""
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
