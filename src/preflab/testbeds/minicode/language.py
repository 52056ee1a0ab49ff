"""Defines the language of minicode. A program is a pipeline of steps on a list of integers, such as `keep even | mul 2
| sum`.

The interpreter has no side effects and always terminates. Any text gives an output or a named error, in time linear in
the length of the text. The table `OPERATORS` has one row for each operator, with its name, its meaning, and the phrases
that stand for it in problem statements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal

MinicodeValue = int | tuple[int, ...]
ArgumentKind = Literal["", "number", "count", "divisor", "condition"]

MAX_STEPS = 16  # the largest number of steps in a program
MAX_VALUE = 9999  # the largest absolute value of an integer after any step

LEAST = {"number": -99, "count": 0, "divisor": 1}  # the smallest allowed argument of each kind
INTEGERS = {str(number): number for number in range(-99, 100)}


class CompileError(Exception):
    """Raised if a text is not a valid program."""


class RuntimeFault(Exception):
    """Raised if a program fails on an input."""


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of the language. `shape`: what the operator does. `each` changes every integer of a list, or a single
    integer. `list` turns a list into another list. `fold` turns a list into an integer. `argument`: the kind of
    argument that follows the name: none (''), a `number`, a `count` (not negative), a `divisor` (positive), or a
    `condition`. `phrases`: the phrases that name a step exactly. `{}` stands for the argument. `vague`: a phrase that
    fits several steps, so that only the examples in a statement show which step is meant."""

    name: str
    shape: Literal["each", "list", "fold"]
    argument: ArgumentKind
    apply: Callable[[Any, Any], Any]
    phrases: tuple[str, ...]
    vague: str = ""
    empty: bool = True  # whether the operator accepts the empty list


OPERATORS = {
    operator.name: operator
    for operator in (
        # shape `each`: x is an integer, and k is a number
        Operator("add", "each", "number", lambda x, k: x + k, ("add {}", "plus {}"), "shift"),
        Operator("sub", "each", "number", lambda x, k: x - k, ("subtract {}", "minus {}"), "shift"),
        Operator("mul", "each", "number", lambda x, k: x * k, ("times {}", "multiply {}"), "scale"),
        Operator("div", "each", "divisor", lambda x, k: x // k, ("over {}", "divide {}"), "scale"),
        Operator("mod", "each", "divisor", lambda x, k: x % k, ("modulo {}", "remainder {}"), "remainder"),
        Operator("cap", "each", "number", lambda x, k: min(x, k), ("at most {}", "ceiling {}"), "limit"),
        Operator("floor", "each", "number", lambda x, k: max(x, k), ("at least {}", "bottom {}"), "limit"),
        Operator("abs", "each", "", lambda x, _: abs(x), ("absolute", "unsigned")),
        Operator("neg", "each", "", lambda x, _: -x, ("negate", "opposite"), "flip"),
        Operator("square", "each", "", lambda x, _: x * x, ("square", "squared")),
        # shape `list`: x is a list, and k is a count or a condition
        Operator("sort", "list", "", lambda x, _: tuple(sorted(x)), ("ascending", "upwards"), "order"),
        Operator("down", "list", "", lambda x, _: tuple(sorted(x, reverse=True)), ("descending", "downwards"), "order"),
        Operator("reverse", "list", "", lambda x, _: x[::-1], ("reverse", "backwards"), "flip"),
        Operator("unique", "list", "", lambda x, _: tuple(dict.fromkeys(x)), ("unique", "distinct")),
        Operator("sums", "list", "", lambda x, _: tuple(accumulate(x)), ("accumulate", "running total")),
        Operator("gaps", "list", "", lambda x, _: tuple(b - a for a, b in pairwise(x)), ("gaps", "differences")),
        Operator("other", "list", "", lambda x, _: x[::2], ("every other", "alternate")),
        Operator("take", "list", "count", lambda x, k: x[:k], ("first {}", "leading {}"), "first few"),
        Operator("drop", "list", "count", lambda x, k: x[k:], ("skip {}", "past {}"), "skip some"),
        Operator("tail", "list", "count", lambda x, k: x[max(len(x) - k, 0) :], ("last {}", "final {}"), "last few"),
        Operator("rotate", "list", "count", lambda x, k: _rotate(x, k), ("rotate {}", "turn {}"), "rotate"),
        Operator("keep", "list", "condition", lambda x, k: tuple(filter(k, x)), ("only {}", "just {}")),
        Operator("reject", "list", "condition", lambda x, k: tuple(i for i in x if not k(i)), ("no {}", "without {}")),
        # shape `fold`: x is a list
        Operator("sum", "fold", "", lambda x, _: sum(x), ("total", "add up")),
        Operator("len", "fold", "", lambda x, _: len(x), ("how many", "size")),
        Operator("count", "fold", "condition", lambda x, k: sum(map(k, x)), ("how many {}", "count {}")),
        Operator("max", "fold", "", lambda x, _: max(x), ("largest", "maximum"), "extreme", empty=False),
        Operator("min", "fold", "", lambda x, _: min(x), ("smallest", "minimum"), "extreme", empty=False),
        Operator("first", "fold", "", lambda x, _: x[0], ("head", "first one"), "end", empty=False),
        Operator("last", "fold", "", lambda x, _: x[-1], ("tip", "last one"), "end", empty=False),
    )
}

CONDITIONS: dict[str, Callable[[Any], Callable[[int], bool]]] = {
    "even": lambda _: lambda x: x % 2 == 0,
    "odd": lambda _: lambda x: x % 2 == 1,
    ">": lambda k: lambda x: x > k,
    "<": lambda k: lambda x: x < k,
}
COMPARISONS = {">": ("above {}", "large"), "<": ("below {}", "small")}  # the exact phrase and the vague phrase

_PUNCTUATION = ("|", ":", "->", ";", "then", "of")


def _rotate(items: tuple[int, ...], places: int) -> tuple[int, ...]:
    """Moves the first `places` items to the end. `places` is taken modulo the number of items."""
    cut = places % len(items) if items else 0
    return items[cut:] + items[:cut]


MinicodeStep = tuple[Operator, Any]  # an operator, and the second argument of its function `apply`


def compile_program(text: str) -> list[MinicodeStep]:
    """Compiles the text of a program into steps. Raises `CompileError` if the text is not a valid program."""
    sentences = " ".join(text.split()).split(" | ")
    if len(sentences) > MAX_STEPS:
        raise CompileError(f"the program has more than {MAX_STEPS} steps")
    return [_compile_words(sentence.split(" ")) for sentence in sentences]


def _compile_words(words: Sequence[str]) -> MinicodeStep:
    operator = OPERATORS.get(words[0])
    if operator is None:
        raise CompileError(f"no operator has the name {words[0][:20]!r}")
    return operator, _compile_argument(operator.name, operator.argument, words[1:])


def _compile_argument(name: str, kind: ArgumentKind, words: Sequence[str]) -> Any:
    """Compiles the words that follow an operator's name into the operator's argument. A condition can itself have an
    argument, such as 3 in `> 3`."""
    if kind == "":
        if words:
            raise CompileError(f"{name} takes no argument")
        return None
    if kind == "condition":
        if not words or words[0] not in CONDITIONS:
            raise CompileError(f"{name} takes one of the conditions {', '.join(CONDITIONS)}")
        own_kind = "number" if words[0] in COMPARISONS else ""
        return CONDITIONS[words[0]](_compile_argument(f"{name} {words[0]}", own_kind, words[1:]))
    number = INTEGERS.get(words[0]) if len(words) == 1 else None
    if number is None or number < LEAST[kind]:
        raise CompileError(f"{name} takes one number from {LEAST[kind]} to 99")
    return number


def run_program(program: Iterable[MinicodeStep], value: MinicodeValue) -> MinicodeValue:
    """Returns the output of a program for an input. Raises `RuntimeFault` if the program fails on the input."""
    for operator, argument in program:
        value = apply_step(operator, argument, value)
    return value


def apply_step(operator: Operator, argument: Any, value: MinicodeValue) -> MinicodeValue:
    """Applies one step to `value`, and returns the result. Raises `RuntimeFault` if `value` has the wrong type, if the
    operator does not accept an empty list, or if an integer of the result is out of bounds."""
    if isinstance(value, int):
        if operator.shape != "each":
            raise RuntimeFault(f"{operator.name} takes a list, not the integer {value}")
    elif not value and not operator.empty:
        raise RuntimeFault(f"{operator.name} does not accept an empty list")
    elif operator.shape == "each":
        return _check_bounds(tuple([operator.apply(item, argument) for item in value]))
    return _check_bounds(operator.apply(value, argument))


def _check_bounds(value: MinicodeValue) -> MinicodeValue:
    """Returns the value unchanged. Raises `RuntimeFault` if the absolute value of an integer is above `MAX_VALUE`."""
    largest = abs(value) if isinstance(value, int) else max(map(abs, value), default=0)
    if largest > MAX_VALUE:
        raise RuntimeFault(f"the absolute value of an integer is above {MAX_VALUE}")
    return value


def _collect_words() -> tuple[str, ...]:
    phrases = [phrase for operator in OPERATORS.values() for phrase in (*operator.phrases, operator.vague)]
    phrases += [phrase for pair in COMPARISONS.values() for phrase in pair]
    words = [word for phrase in phrases for word in phrase.split() if word != "{}"]
    return tuple(dict.fromkeys((*INTEGERS, *_PUNCTUATION, *OPERATORS, *CONDITIONS, *words)))


MINICODE_WORDS = _collect_words()
"""Every word that can occur in statements and programs. White space separates words."""
