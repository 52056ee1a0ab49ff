"""Values cross whole, and nothing that a program can write does more than fail."""

from __future__ import annotations

import json
import math
from collections import Counter, OrderedDict, defaultdict, namedtuple
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preflab.sandbox.backends import open_backend
from preflab.sandbox.limits import Limits
from preflab.sandbox.plain_json import decode_json, encode_json
from preflab.sandbox.process import open_box
from preflab.sandbox.walls import INNER_PYTHON
from preflab.sandbox.wire import _DEPTH, Foreign, Tagged, decode, encode, rebuild

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
)
KEYS = st.recursive(SCALARS, lambda part: st.tuples(part, part) | st.frozensets(part, max_size=3), max_leaves=4)
VALUES = st.recursive(
    SCALARS,
    lambda part: (
        st.lists(part) | st.tuples(part, part) | st.dictionaries(KEYS, part, max_size=3) | st.sets(KEYS, max_size=3)
    ),
    max_leaves=12,
)


def typed(value: Any) -> Any:
    """The value with every type spelt out: 1, 1.0 and True are equal in Python."""
    if isinstance(value, list | tuple):
        return type(value), [typed(part) for part in value]
    if isinstance(value, dict):
        return dict, [(typed(key), typed(part)) for key, part in value.items()]
    if isinstance(value, set | frozenset):
        return type(value), sorted(map(repr, map(typed, value)))
    if isinstance(value, Iterator):
        return Iterator, [typed(part) for part in value]
    return type(value), repr(value)


@given(VALUES)
def test_what_goes_over_comes_back_as_it_was(value: Any) -> None:
    """Protects every type: tuples stay tuples, sets sets, keys keep their type, 1 and 1.0 and True stay apart."""
    line = encode(value)
    assert "\n" not in line and line.isascii()
    assert typed(rebuild(decode(line))) == typed(value)


def tagged(part: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists and JSON objects as a program could write them: each tag mostly with content of its kind, some with two keys."""
    items = st.lists(part, max_size=3)
    scalars = {"i": st.integers().map(hex), "b": st.binary().map(bytes.hex), "r": st.integers()}
    contents = scalars | {"y": st.sampled_from(["int", "eval"]), "d": st.lists(st.tuples(part, part), max_size=3)}
    objects = [st.fixed_dictionaries({tag: contents.get(tag, items)}) for tag in "tszgcqmxnibryd"]
    return items | st.one_of(objects) | st.dictionaries(st.text(max_size=1), part, max_size=2)


WRITTEN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3), tagged, max_leaves=8
)


def is_plain(value: Any) -> bool:
    """Whether a value is of the few types that `decode` promises."""
    if isinstance(value, Tagged):
        return type(value.tag) is str and (type(value.items) is bytes or is_plain(value.items))
    if type(value) is list:
        return all(map(is_plain, value))
    return type(value) in (type(None), bool, int, float, str)


def test_any_text_is_a_value_or_foreign() -> None:
    """Protects the judge from whatever a program writes: `decode` and `rebuild` raise nothing but `Foreign`, what `decode`
    returns is plain, and what `rebuild` returns goes over as any other value does."""
    ends = Counter[str]()

    @given(WRITTEN.map(json.dumps) | st.text() | st.binary())
    @settings(max_examples=400)
    def check(text: str | bytes) -> None:
        end = "not a value"
        try:
            value = decode(text)
            assert is_plain(value)
            end = "not an object"
            rebuilt = rebuild(value)
            end = "an object"
            again = rebuild(decode(encode(rebuild(value))))
            assert typed(again) == typed(rebuilt)
        except Foreign:
            assert end != "an object"
        ends[end] += 1

    check()
    assert min(ends[end] for end in ("not a value", "not an object", "an object")) > 20, ends


@pytest.mark.parametrize(
    "line",
    [
        '{"t":1}',
        '{"t":[1],"s":[2]}',
        '{"k":[]}',
        '{"i":5}',
        '{"i":"0xzz"}',
        '{"b":"0"}',
        '{"d":[[1]]}',
        '{"d":[1,2]}',
        '{"c":[1,2]}',
        '{"c":[1.0]}',
        "[1,]",
        "[" * 100_000,
        "[" * (_DEPTH + 1) + "]" * (_DEPTH + 1),
        "1" * 5000,
        '"\\ud800',
    ],
)
def test_malformed_values_are_refused(line: str) -> None:
    """Protects the parser: an unknown or doubled tag, content of the wrong kind, depth without end, numbers without end."""
    with pytest.raises(Foreign):
        decode(line)


@pytest.mark.parametrize("line", ['{"s":[[1]]}', '{"d":[[[1],2]]}'])
def test_what_cannot_be_hashed_cannot_be_rebuilt(line: str) -> None:
    """Protects the checker: a set of lists is a value that no Python object is."""
    decode(line)
    with pytest.raises(Foreign):
        rebuild(decode(line))


def test_keys_that_collide_cost_the_judge_nothing() -> None:
    """Protects the batch: integers of one hash would make a set of 20,000 take minutes; they are read as a list of items.
    2^61 - 1 is the modulus of Python's hash."""
    line = '{"s":[' + ",".join(f'{{"i":"{hex(n * (2**61 - 1))}"}}' for n in range(1, 20_001)) + "]}"
    assert len(decode(line).items) == 20_000


def test_iterators_ranges_and_exact_numbers_cross() -> None:
    """Protects tests that are code: an iterator is one there too, what it yields the same; exact numbers stay exact."""
    rebuilt = rebuild(decode(encode([(n for n in (1, 2)), map(str, [3])])))
    assert [list(part) for part in rebuilt] == [[1, 2], ["3"]] and next(iter(rebuilt[0]), None) is None
    for value in (range(1, 9, 2), Fraction(1, 3), Decimal("0.30"), int):
        assert rebuild(decode(encode(value))) == value


@pytest.mark.parametrize(
    "value", [object(), {"a": lambda: 1}, [print], type, math, 1j.conjugate, {}.keys(), memoryview(b"")]
)
def test_what_is_no_plain_data_is_refused(value: Any) -> None:
    """Protects from objects with an equality of their own."""
    with pytest.raises(Foreign):
        encode(value)


def test_a_value_inside_itself_is_refused() -> None:
    """Protects from recursion: a list that holds itself has no depth."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(Foreign):
        encode(endless)


def test_subclasses_are_what_they_derive_from() -> None:
    """Protects honest programs, and from overridden methods: these are asked nothing."""

    class Liar(list[int]):
        def __iter__(self) -> Any:
            return iter([7])

        def __len__(self) -> int:
            return 7

        def __eq__(self, other: object) -> bool:
            return True

    point = namedtuple("point", "x y")
    assert encode(Liar([0])) == "[0]"
    assert encode([Counter("a"), OrderedDict(b=1), defaultdict(int), point(1, 2)]) == (
        '[{"d":[["a",1]]},{"d":[["b",1]]},{"d":[]},{"t":[1,2]}]'
    )


class Node:
    """A node of a problem: any attributes."""


@given(
    st.integers(1, 6).flatmap(
        lambda size: st.tuples(st.just(size), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5))))
    )
)
def test_graphs_of_nodes_come_back_as_they_were(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    """Protects shared nodes and circles: whatever points where, the same points there afterwards."""
    size, arrows = drawn
    nodes = [Node() for _ in range(size)]
    for number, node in enumerate(nodes):
        vars(node).update(val=number, out=[])
    for source, target in arrows:
        vars(nodes[source % size])["out"].append(nodes[target % size])
    rebuilt = rebuild(decode(encode(nodes, {"Node": Node})), {"Node": Node})
    assert [vars(node)["val"] for node in rebuilt] == list(range(size))
    for before, after in zip(nodes, rebuilt, strict=True):
        places = [vars(node)["val"] for node in vars(before)["out"]]
        assert [rebuilt.index(node) for node in vars(after)["out"]] == places


@pytest.mark.parametrize(
    "text",
    [
        '{"n":[1,[["Other",null,[]]]]}',
        '{"n":[{"r":7},[["Node",null,[]]]]}',
        '{"n":[{"r":0},[["Node",null,[["__class__",1]]]]]}',
        '{"n":[{"r":0},[["Node",[1],[]]]]}',
        '{"n":[{"r":0},[["Node"]]]}',
        '{"n":3}',
        '[{"n":[1,[]]}]',
        '{"y":"object"}',
        '{"r":0}',
    ],
)
def test_no_node_is_made_of_anything_else(text: str) -> None:
    """Protects the checker: only classes and places that are there, only plain attributes."""
    with pytest.raises(Foreign):
        rebuild(decode(text), {"Node": Node})


@given(st.recursive(SCALARS.filter(lambda value: not isinstance(value, bytes | complex)), st.lists, max_leaves=8))
def test_json_is_written_and_read_as_by_the_standard_library(value: Any) -> None:
    """Protects the sandbox's quick start: the C functions alone do what `json` does with them."""
    text = json.dumps(value, separators=(",", ":"))
    assert encode_json(value) == text
    assert typed(decode_json(f" {text}\n")) == typed(json.loads(text))


@pytest.mark.parametrize("text", ["", "[1", "[1] 2", "nul", "{'a': 1}", b"\xff"])
def test_text_that_is_not_json_is_a_value_error(text: str | bytes) -> None:
    """Protects `decode`, which turns a `ValueError` into `Foreign`."""
    with pytest.raises(ValueError):
        decode_json(text)


def test_programs_start_without_slow_imports() -> None:
    """Protects the speed of judging: `re`, `typing` and `json` take longer to import than the sandbox takes to build."""
    slow = {"re", "typing", "json", "enum", "importlib.util", "pathlib"}
    command = "import sys, preflab.sandbox.guest, preflab.sandbox.checker; print(*sys.modules)"
    walls = open_backend("bubblewrap", ())
    limits = Limits()
    with open_box(walls, (INNER_PYTHON, "-s", "-P", "-c", command), b"", limits, group=None, stdin=b"") as box:
        box.finish()
    assert box.code == 0
    assert not slow & {*bytes(box.output).decode().split()}
