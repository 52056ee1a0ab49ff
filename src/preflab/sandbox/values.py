"""Compares the value that a program returned with the expected value.

The rule `values` requires the same plain data. A tuple counts as a list, a boolean does not equal a number, and floats
agree within `TOLERANCE`. The rule `equal` also treats booleans, fractions, decimals and complex numbers as the plain
numbers that equal them, as Python's `==` does. The rule `loose`, which APPS uses, is like `equal`. If a list of one
item is expected, this rule also accepts the item without the list.

This file is also run as a program, to compare answers that are too long to compare in the judge's own process. The
program reads a line in the encoding of `wire`, `[rule, expected, got]`, and prints `right` or `wrong`. The `rule` is
one of the rules above, or one of the rules of the module `compare`.
"""

from __future__ import annotations

import sys
from typing import Any, Literal, cast, get_args

from preflab.sandbox import wire
from preflab.sandbox.compare import LONGEST_NUMBER, NUMBER, WHOLE, OutputComparison, close, same_text
from preflab.sandbox.wire import Tagged

ValueComparison = Literal["values", "equal", "loose"]
_LONGEST_INTEGER = 1024
"""A fraction is compared as a number only if each of its integers has at most this many bits."""


def same_answer(expected: Any, got: Any, compare: ValueComparison) -> bool:
    """Checks whether a program returned the right value. `expected`: JSON data; `got`: the returned value, as `wire.decode`
    gives it."""
    if compare == "values":
        return same_value(expected, got)
    alone = compare == "loose" and isinstance(expected, list) and len(expected) == 1
    choices = [expected, *expected] if alone else [expected]
    return any(same_value(_loosen(one), _loosen(got)) for one in choices)


def _loosen(value: Any) -> Any:
    """Returns the value with booleans, fractions, decimals and complex numbers replaced by the plain numbers that equal
    them."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Tagged):
        number = _read_number(value)
        return number if number is not None else Tagged(value.tag, _loosen(value.items))
    if isinstance(value, list):
        return [_loosen(part) for part in value]
    return {key: _loosen(part) for key, part in value.items()} if isinstance(value, dict) else value


def _read_number(value: Tagged) -> int | float | None:
    """Returns the plain number that equals a fraction, a decimal or a complex number. Returns None if there is no such
    number."""
    items = value.items
    if value.tag == "q" and len(items) == 2 and all(type(part) is int for part in items):
        top, bottom = items
        if bottom and max(top.bit_length(), bottom.bit_length()) <= _LONGEST_INTEGER:
            return top / bottom if top % bottom else top // bottom
    if value.tag == "m" and len(items) == 1 and isinstance(items[0], str) and len(items[0]) <= LONGEST_NUMBER:
        return (int if WHOLE.fullmatch(items[0]) else float)(items[0]) if NUMBER.fullmatch(items[0]) else None
    return items[0] if value.tag == "c" and items[1] == 0 else None


def same_value(expected: Any, got: Any) -> bool:
    """Checks whether `got`, as `wire.decode` gives it, equals the JSON data `expected`. A boolean does not equal a
    number."""
    if isinstance(expected, list):
        items = got.items if isinstance(got, Tagged) and got.tag == "t" else got
        return type(items) is list and len(items) == len(expected) and all(map(same_value, expected, items))
    if isinstance(expected, dict):
        return isinstance(got, Tagged) and got.tag == "d" and _same_pairs(expected, got.items)
    if isinstance(expected, bool) or expected is None or isinstance(expected, str):
        return type(got) is type(expected) and got == expected
    if type(got) not in (int, float):
        return False
    return close(expected, got) if isinstance(expected, float) else got == expected


def _same_pairs(expected: dict[str | int, Any], pairs: list[Any]) -> bool:
    if len(pairs) != len(expected) or not all(type(key) in (str, int) for key, _ in pairs):
        return False
    left = dict(expected)  # a hash table of the expected keys only, because a program could choose keys that collide
    return all(key in left and same_value(left.pop(key), value) for key, value in pairs)


def compare_line(line: str) -> bool:
    """Checks whether the two answers in a line are the same by the rule in that line."""
    rule, expected, got = wire.rebuild(wire.decode(line))
    if rule in get_args(OutputComparison):
        return same_text(expected, got, rule)
    return same_answer(expected, wire.decode(got), cast(ValueComparison, rule))


if __name__ == "__main__":
    print("right" if compare_line(sys.stdin.readline()) else "wrong")
