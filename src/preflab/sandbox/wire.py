"""How arguments and results cross between the judge and a program: JSON of plain data, tagged, bounded, never executed.

None, booleans, floats, text and small integers are JSON's own, a list is an array. What JSON lacks is an object of one
key: `i` a large integer in hexadecimal, `t` a tuple, `s` a set, `z` a frozen set, `d` a dictionary as pairs, `b` bytes
in hexadecimal, `c` a complex number.

The program's side stands in the sandbox beside the program, which may garble it. Nothing is lost: garbled is wrong. The
judge's side (`decode`) therefore builds no hash table of what it reads, whose keys could be made to collide.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

DEPTH = 200
"""How deep a value may be nested."""
SMALL = 2**53
"""Integers below it, in absolute value, are JSON numbers."""


class Foreign(ValueError):
    """A value that is no plain data, or text that is no value."""


class Tagged(NamedTuple):
    """A decoded value that JSON does not have; `items` are decoded, pairs of two for a dictionary."""

    tag: str
    items: Any


def encode(value: Any) -> str:
    """A value as one line of ASCII. Raises `Foreign` for what is no plain data, or nested deeper than `DEPTH`."""
    return json.dumps(_plain(value, DEPTH), separators=(",", ":"))


def decode(text: str | bytes) -> Any:
    """The value in a line: None, bool, int, float, str, list or `Tagged`. Raises `Foreign` for anything else."""
    try:
        return _tree(json.loads(text), DEPTH)
    except (ValueError, RecursionError) as error:
        raise Foreign(f"no value: {type(error).__name__}") from None


def rebuild(value: Any) -> Any:
    """A decoded value as the Python object that it was. Raises `Foreign` where there is none, such as a set of lists."""
    if type(value) is list:
        return [rebuild(part) for part in value]
    if not isinstance(value, Tagged):
        return value
    try:
        return _REBUILT[value.tag](value.items)
    except TypeError as error:
        raise Foreign(str(error)) from None


def _plain(value: Any, depth: int) -> Any:
    """Subclasses count as what they derive from, by the base's own methods: an overridden one is not asked."""
    if depth == 0:
        raise Foreign(f"nested more than {DEPTH} levels deep")
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int.__index__(value)
        return number if -SMALL < number < SMALL else {"i": hex(number)}
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, list):
        return [_plain(part, depth - 1) for part in list.__iter__(value)]
    if isinstance(value, tuple):
        return {"t": [_plain(part, depth - 1) for part in tuple.__iter__(value)]}
    if isinstance(value, dict):
        return {"d": [[_plain(key, depth - 1), _plain(part, depth - 1)] for key, part in dict.items(value)]}
    if isinstance(value, set):
        return {"s": [_plain(part, depth - 1) for part in set.__iter__(value)]}
    if isinstance(value, frozenset):
        return {"z": [_plain(part, depth - 1) for part in frozenset.__iter__(value)]}
    if isinstance(value, bytes | bytearray):
        return {"b": bytes(value).hex()}
    if isinstance(value, complex):
        return {"c": [value.real, value.imag]}
    raise Foreign(f"a {type(value).__name__} is no plain data")


def _tree(value: Any, depth: int) -> Any:
    if depth == 0:
        raise Foreign("too deep")
    if isinstance(value, list):
        return [_tree(part, depth - 1) for part in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise Foreign("an object of several keys")
    [(tag, content)] = value.items()
    if tag == "i":
        return int(_of(content, str), 16)
    if tag == "b":
        return Tagged(tag, bytes.fromhex(_of(content, str)))
    if tag not in _REBUILT:
        raise Foreign("an unknown tag")
    items = [_tree(part, depth - 1) for part in _of(content, list)]
    if tag == "c" and not (len(items) == 2 and all(type(part) is float for part in items)):
        raise Foreign("no complex number")
    if tag == "d" and not all(type(pair) is list and len(pair) == 2 for pair in items):
        raise Foreign("no pairs")
    return Tagged(tag, items)


def _of(content: Any, kind: type) -> Any:
    if type(content) is not kind:
        raise Foreign(f"no {kind.__name__}")
    return content


_REBUILT: Mapping[str, Callable[[Any], Any]] = {
    "t": lambda items: tuple(map(rebuild, items)),
    "s": lambda items: set(map(rebuild, items)),
    "z": lambda items: frozenset(map(rebuild, items)),
    "d": lambda pairs: {rebuild(key): rebuild(part) for key, part in pairs},
    "b": bytes,
    "c": lambda parts: complex(*parts),
}
