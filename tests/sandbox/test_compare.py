"""What is the right answer, and what only looks like it."""

from __future__ import annotations

import math
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflab.sandbox.compare import OutputComparison, same_text
from preflab.sandbox.values import compare_line, same_answer, same_value
from preflab.sandbox.wire import decode, encode


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ("6 3\n", "6 3"),
        ("6 3\n", "6 3  \n\n \n"),
        ("6 3\n", "6 3\r\n"),
        ("", "\n\n"),
        ("a\n\nb", "a \n\nb\n"),
        ("2.50", "2.5"),
        ("2.5", "+2.5e0"),
        ("0.0000001", "0"),
        ("1e9", "1000000000.0"),
        ("1000000.0", "1000000.9"),  # .9e-6, relative to the expected value
        ("3.0", "3"),
        (".5", "0.5"),
    ],
)
def test_right_text(expected: str, got: str) -> None:
    assert same_text(expected, got)


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ("6 3", " 6 3"),  # leading blanks count
        ("6 3", "\n6 3"),
        ("6 3", "6  3"),
        ("6 3", "6\n3"),
        ("6", "6.0"),  # an integer is an integer token
        ("6", "06"),
        ("2.5", "2.50001"),
        ("2.5", "nan"),
        ("2.5", "inf"),
        ("1e400", "inf"),
        ("2.5", "2,5"),
        ("2.5", "٢.٥"),  # digits, but not ASCII
        ("2.5", "2.5.0"),
        ("2.5", "2_5.0"),
        ("nan", "2.5"),
        ("Yes", "yes"),
        ("a\nb", "a\nb\nc"),
        ("a", ""),
        ("1.5", "1" * 10**6 + ".5"),
    ],
)
def test_wrong_text(expected: str, got: str) -> None:
    assert not same_text(expected, got)


@given(st.text())
def test_text_is_itself(text: str) -> None:
    """Protects every answer that is printed exactly, whatever is in it."""
    assert same_text(text, text)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda part: st.lists(part) | st.dictionaries(st.text(), part),
    max_leaves=10,
)


@given(PLAIN)
def test_a_value_is_itself(value: Any) -> None:
    """Protects every value that is returned exactly, over the wire."""
    assert same_value(value, decode(encode(value)))


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ([1, 2], (1, 2)),
        ({"a": [1]}, {"a": (1,)}),
        (1.0, 1),
        (1, 1.0),
        (0.1, 0.1 + 1e-8),
        (1e9, 1e9 + 100),
        (10**30, 10**30),
    ],
)
def test_right_values(expected: Any, got: Any) -> None:
    assert same_value(expected, decode(encode(got)))


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (True, 1),
        (1, True),
        (1, "1"),
        ("1", 1),
        (None, 0),
        (None, False),
        ([], None),
        ([1], {1}),
        ([1], [1, 1]),
        ([[1]], [1]),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"1": 1}, {1: 1}),
        ({}, []),
        ("a", b"a"),
        (0.5, math.nan),
        (0.5, math.inf),
        (0.5, 10**400),
        (0.5, 0.5 + 1e-5),
        (1, 1 + 1e-9),
    ],
)
def test_wrong_values(expected: Any, got: Any) -> None:
    assert not same_value(expected, decode(encode(got)))


@pytest.mark.parametrize(
    ("expected", "got", "compare", "right"),
    [
        ("1 2\n3\n", "1\n2 3", "tokens", True),  # white space only parts
        ("20", "20.0000", "tokens", True),  # either may have the point
        ("0.5", "0.500004", "tokens", True),
        ("0.5", "0.50001", "tokens", True),  # 1e-5 off
        ("0.5", "0.50002", "tokens", False),
        ("20", "21", "tokens", False),
        ("10000000000000001", "10000000000000000", "tokens", False),  # integers are never rounded
        ("0110", "110", "tokens", False),  # a string of digits is no number
        ("0110", "110.0", "tokens", False),
        ("7", "007", "tokens", False),
        ("-0", "0.0", "tokens", False),
        ("nan", "1.5", "tokens", False),
        ("1.5", "nan", "tokens", False),
        ("Yes", "YES", "tokens", False),
        ("Yes\n1", "YES 1.0", "caseless", True),
        ("1 2", "1 2 3", "tokens", False),
        ("a \n", "a \n", "exact", True),
        ("a \n", "a\n", "exact", False),
    ],
)
def test_other_ways_to_compare(expected: str, got: str, compare: OutputComparison, right: bool) -> None:
    """Protects the data sets' own rules: competitions part by white space, some answers count in any case."""
    assert same_text(expected, got, compare) is right


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        (True, 1, True),
        (1, True, True),
        ([1, 0], [True, False], True),
        (0.5, Fraction(1, 2), True),
        (3, Fraction(6, 2), True),
        ([0.1], (Decimal("0.1"),), True),
        (2, Decimal("2"), True),
        (2, 2 + 0j, True),
        ({"a": True}, {"a": 1}, True),
        ([5], 5, True),  # an expected list of one may stand for what is in it
        (5, [5], False),
        (True, 2, False),
        ("1", 1, False),
        (0.5, Fraction(1, 3), False),
        (2, 2 + 1j, False),
        (1, Decimal("NaN"), False),
        ([1, 2], {1, 2}, False),
        (None, 0, False),
    ],
)
def test_values_as_python_holds_them_equal(expected: Any, got: Any, same: bool) -> None:
    """Protects right functions of APPS, whose official judge compares by `==`."""
    assert same_answer(expected, decode(encode(got)), "loose") is same
    assert compare_line(encode(["loose", expected, encode(got)])) is same  # in a sandbox, too
    assert same_answer(expected, decode(encode(got)), "equal") is (
        same and [*map(type, (expected, got))] != [list, int]
    )


def test_a_garbled_fraction_is_no_number() -> None:
    """Protects the judge's process: a division by zero, and one of numbers that would take minutes."""
    for garbled in (
        '{"q":[1,0]}',
        '{"q":[1.5,2]}',
        '{"q":[1]}',
        '{"m":["1/2"]}',
        '{"q":[{"i":"0x%s"},3]}' % ("f" * 10**6),
    ):
        assert not same_answer(1, decode(garbled), "loose")


def test_keys_that_a_program_chose_cost_the_judge_nothing() -> None:
    """Protects the judge's process: 40,000 integers of one hash took it 23 s in a table of its own."""
    keys = [number * (2**61 - 1) for number in range(1, 40_001)]
    answer = decode('{"d":' + str([[key, 0] for key in keys]) + "}")
    before = time.process_time()
    assert not same_value({str(key): 0 for key in range(40_000)}, answer)
    assert not same_value(dict.fromkeys(range(40000), 0), answer)
    assert time.process_time() - before < 2.0


def test_a_key_that_comes_twice_is_not_two_keys() -> None:
    assert not same_value({"a": 1, "b": 1}, decode('{"d":[["a",1],["a",1]]}'))


@pytest.mark.parametrize("compare", ["lines", "tokens", "caseless"])
def test_white_space_at_the_end_is_dropped_before_anything_is_compared(compare: OutputComparison) -> None:
    """Protects the judge's process: 15 million empty lines cost 1.2 s a test. What is not white space there counts."""
    before = time.process_time()
    assert same_text("7\n", "7" + "\n" * 15_000_000, compare)
    assert time.process_time() - before < 0.6
    assert same_text("a\u3000", "a", "lines") is False and same_text("7", "7\n8", compare) is False
