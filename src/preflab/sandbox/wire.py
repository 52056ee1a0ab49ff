"""Encodes the values that the judge and a program exchange as tagged JSON, which is bounded and never executed.

None, booleans, floats, text and small integers are written as usual in JSON. A list is written as an array. A value
that JSON lacks is written as an object with one key: `i` a large integer in hexadecimal, `t` a tuple, `s` a set, `z` a
frozen set, `d` a dictionary as pairs, `b` bytes in hexadecimal, `c` a complex number, `q` a fraction, `m` a decimal,
`x` a range, `g` an iterator (what it yields), `y` one of Python's own types. A NumPy number is written as the Python
number that equals it.

Nodes are the objects of a problem's own classes. Several nodes can refer to the same object, and nodes can refer to
each other in cycles. The key `n` occurs only at the top level, and contains the value and a table of nodes. Each row of
the table contains the name of the node's class, the arguments that made the node (null: not known) and the node's
attributes as pairs. Inside the value and the rows, the key `r` contains the index of a node in the table.

In the sandbox, this code runs in the same process as the program, so the program can damage the encoded values. A
damaged value counts as a wrong answer. The judge's side (`decode`) builds no hash table from the data that it reads,
because a program could choose keys that collide.
"""

from __future__ import annotations

import sys
from _collections_abc import Callable, Iterator, Mapping, Sequence  # Python has loaded it; `collections.abc` loads more

from preflab.sandbox.plain_json import TYPE_CHECKING, decode_json, encode_json

if TYPE_CHECKING:
    from typing import Any

_DEPTH = 200  # the largest allowed depth of nesting
_SMALL = 2**53  # integers with a smaller absolute value are JSON numbers
NODE_ARGUMENTS = "_arguments"  # a node may store the arguments of its constructor in this attribute
_TYPES: Mapping[str, type] = {
    kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict)
}
_SEQUENCES: tuple[tuple[Any, str], ...] = ((list, ""), (tuple, "t"), (set, "s"), (frozenset, "z"))
_NO_CLASSES: Mapping[str, type] = {}


class Foreign(ValueError):
    """Raised for a value that is not plain data, and for text that is not an encoded value."""


class Tagged:
    """A decoded value of a kind that JSON lacks. The `items` are decoded too; the items of a dictionary are pairs."""

    __slots__ = ("items", "tag")

    def __init__(self, tag: str, items: Any) -> None:
        self.tag, self.items = tag, items


def encode(value: Any, classes: Mapping[str, type] = _NO_CLASSES) -> str:
    """Returns a value as one line of ASCII. Objects of the `classes` are written as nodes. Raises `Foreign` if the value is
    not plain data, or is nested deeper than `_DEPTH`."""
    nodes = _Nodes(classes)
    plain = _encode_value(value, _DEPTH, nodes)
    table = nodes.table()
    return encode_json({"n": [plain, table]} if table else plain)


def decode(text: str | bytes) -> Any:
    """Returns the value in a line: None, bool, int, float, str, list or `Tagged`. Raises `Foreign` if the line does not
    contain such a value."""
    try:
        return _decode_value(decode_json(text), _DEPTH)
    except (ValueError, RecursionError) as error:
        raise Foreign(f"the line is not an encoded value: {type(error).__name__}") from None


def rebuild(value: Any, classes: Mapping[str, type] = _NO_CLASSES) -> Any:
    """Turns a decoded value into the Python object that was encoded. Nodes become objects of the `classes`. Raises
    `Foreign` if the object cannot exist, for example a set of lists, or a node whose class is not among the
    `classes`."""
    try:
        if not (isinstance(value, Tagged) and value.tag == "n"):
            return _rebuild_value(value, [])
        plain, table = value.items
        nodes = [_make_node(classes[name], arguments) for name, arguments, _ in table]
        for node, (_, _, attributes) in zip(nodes, table, strict=True):
            for name, part in attributes:
                setattr(node, name, _rebuild_value(part, nodes))
        return _rebuild_value(plain, nodes)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise Foreign(f"the value cannot become an object: {error}") from None


class _Nodes:
    """The objects of a problem's own classes, in the order in which the encoder meets them."""

    def __init__(self, classes: Mapping[str, type]) -> None:
        self.kinds = tuple(classes.values())
        self.names = {kind: name for name, kind in classes.items()}
        self.places: dict[int, int] = {}
        self.nodes: list[Any] = []

    def place(self, node: Any) -> int:
        if id(node) not in self.places:
            self.places[id(node)] = len(self.nodes)
            self.nodes.append(node)
        return self.places[id(node)]

    def table(self) -> list[Any]:
        """Returns one row for every reachable node. The table is flat, so that a long linked list is not nested
        deeply."""
        rows: list[Any] = []
        for node in self.nodes:  # the body can append further nodes, which this loop then reaches too
            attributes = _read_attributes(node)
            arguments = attributes.pop(NODE_ARGUMENTS, None)
            made_by = None if arguments is None else _encode_value(list(arguments), _DEPTH, self)
            parts = [[name, _encode_value(part, _DEPTH, self)] for name, part in attributes.items()]
            rows.append([self.names[next(kind for kind in type(node).__mro__ if kind in self.names)], made_by, parts])
        return rows


def _encode_value(value: Any, depth: int, nodes: _Nodes) -> Any:
    """Returns a value as JSON data. An object of a subclass counts as an object of its base class, and is read with the
    methods of the base class. Methods that the subclass overrides are not called."""
    if depth == 0:
        raise Foreign(f"nested more than {_DEPTH} levels deep")
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int.__index__(value)
        return number if -_SMALL < number < _SMALL else {"i": hex(number)}
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, bytes | bytearray):
        return {"b": bytes(value).hex()}
    if isinstance(value, complex):
        return {"c": [value.real, value.imag]}
    if isinstance(value, type) and value in _TYPES.values():
        return {"y": value.__name__}
    if isinstance(value, nodes.kinds):
        return {"r": nodes.place(value)}
    if _is_a(value, "fractions", "Fraction"):
        return {"q": [_encode_value(value.numerator, depth, nodes), _encode_value(value.denominator, depth, nodes)]}
    if _is_a(value, "decimal", "Decimal"):
        return {"m": [str(value)]}
    if isinstance(value, range):
        return {"x": [_encode_value(part, depth, nodes) for part in (value.start, value.stop, value.step)]}
    if _is_a(value, "numpy", "generic"):
        return _encode_value(value.item(), depth - 1, nodes)
    if isinstance(value, Iterator):
        return {"g": [_encode_value(part, depth - 1, nodes) for part in value]}
    if isinstance(value, dict):
        pairs = dict.items(value)
        return {
            "d": [[_encode_value(key, depth - 1, nodes), _encode_value(part, depth - 1, nodes)] for key, part in pairs]
        }
    kind, tag = next((pair for pair in _SEQUENCES if isinstance(value, pair[0])), (None, ""))
    if kind is None:
        raise Foreign(f"a {type(value).__name__} is not plain data")
    parts = [_encode_value(part, depth - 1, nodes) for part in kind.__iter__(value)]
    return {tag: parts} if tag else parts


def _decode_value(value: Any, depth: int) -> Any:
    if depth == 0:
        raise Foreign("nested too deeply")
    if isinstance(value, list):
        return [_decode_value(part, depth - 1) for part in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise Foreign("a JSON object must have exactly one key")
    [(tag, content)] = value.items()
    if tag == "i":
        return int(_require_type(content, str), 16)
    if tag == "b":
        return Tagged(tag, bytes.fromhex(_require_type(content, str)))
    if tag == "r":
        return Tagged(tag, abs(_require_type(content, int)))
    if tag == "y":
        return Tagged(tag, _require_type(content, str))
    if tag not in _MAKERS and tag != "n":
        raise Foreign("an unknown tag")
    items = [_decode_value(part, depth - 1) for part in _require_type(content, list)]
    if tag == "c" and not (len(items) == 2 and all(type(part) is float for part in items)):
        raise Foreign("not a complex number")
    if tag == "d" and not all(type(pair) is list and len(pair) == 2 for pair in items):
        raise Foreign("not a list of pairs")
    return Tagged(tag, items)


def _rebuild_value(value: Any, nodes: Sequence[Any]) -> Any:
    if type(value) is list:
        return [_rebuild_value(part, nodes) for part in value]
    if not isinstance(value, Tagged):
        return value
    if value.tag == "b":
        return value.items
    if value.tag in ("r", "y"):
        return (nodes if value.tag == "r" else _TYPES)[value.items]
    return _MAKERS[value.tag]([_rebuild_value(part, nodes) for part in value.items])


def _is_a(value: Any, module: str, name: str) -> bool:
    """Checks whether a value is an object of this class of the module. Does not import the module, because programs
    start faster without the import."""
    return module in sys.modules and isinstance(value, getattr(sys.modules[module], name))


def _make_from_module(module: str, name: str) -> Callable[[list[Any]], Any]:
    return lambda parts: getattr(__import__(module), name)(*parts)


def _read_attributes(node: Any) -> dict[str, Any]:
    """Returns the attributes of a node, including those in slots."""
    slots = [name for kind in type(node).__mro__ for name in getattr(kind, "__slots__", ())]
    return {**{name: getattr(node, name) for name in slots if hasattr(node, name)}, **getattr(node, "__dict__", {})}


def _make_node(kind: type, arguments: list[Any] | None) -> Any:
    """Returns an object of the class `kind`, made from its arguments (plain data). If the arguments are None (not
    known), returns an object without attributes. The caller sets the attributes."""
    return object.__new__(kind) if arguments is None else kind(*_rebuild_value(arguments, []))


def _require_type(content: Any, kind: type) -> Any:
    if type(content) is not kind:
        raise Foreign(f"not of the type {kind.__name__}")
    return content


_MAKERS: Mapping[str, Callable[[list[Any]], Any]] = {
    "t": tuple, "s": set, "z": frozenset, "d": dict, "g": iter,
    "c": lambda parts: complex(*parts), "x": lambda parts: range(*parts),
    "q": _make_from_module("fractions", "Fraction"), "m": _make_from_module("decimal", "Decimal"),
}  # fmt: skip
