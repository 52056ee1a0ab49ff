"""The language of minicode: what each operator computes, and that every text gets a verdict."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflab.errors import UserError
from preflab.testbeds.minicode.language import (
    INTEGERS,
    MAX_STEPS,
    MAX_VALUE,
    MINICODE_WORDS,
    OPERATORS,
    CompileError,
    RuntimeFault,
    compile_program,
    run_program,
)
from preflab.testbeds.minicode.testbed import judge_minicode
from preflab.types import Test

OUTCOMES = {"passed", "failed", "runtime-error", "compile-error"}
LIST = (3, -4, 3, 8, -1)

GOLDEN = {
    "add 2": (5, -2, 5, 10, 1),
    "sub 2": (1, -6, 1, 6, -3),
    "mul -2": (-6, 8, -6, -16, 2),
    "div 2": (1, -2, 1, 4, -1),
    "mod 5": (3, 1, 3, 3, 4),
    "cap 3": (3, -4, 3, 3, -1),
    "floor 0": (3, 0, 3, 8, 0),
    "abs": (3, 4, 3, 8, 1),
    "neg": (-3, 4, -3, -8, 1),
    "square": (9, 16, 9, 64, 1),
    "sort": (-4, -1, 3, 3, 8),
    "down": (8, 3, 3, -1, -4),
    "reverse": (-1, 8, 3, -4, 3),
    "unique": (3, -4, 8, -1),
    "sums": (3, -1, 2, 10, 9),
    "gaps": (-7, 7, 5, -9),
    "other": (3, 3, -1),
    "take 2": (3, -4),
    "take 0": (),
    "take 9": LIST,
    "drop 2": (3, 8, -1),
    "drop 9": (),
    "tail 2": (8, -1),
    "tail 0": (),
    "tail 9": LIST,
    "rotate 2": (3, 8, -1, 3, -4),
    "rotate 7": (3, 8, -1, 3, -4),
    "keep even": (-4, 8),
    "keep odd": (3, 3, -1),
    "keep > 3": (8,),
    "keep < 3": (-4, -1),
    "reject even": (3, 3, -1),
    "reject > -2": (-4,),
    "sum": 9,
    "len": 5,
    "count odd": 3,
    "count < 0": 2,
    "max": 8,
    "min": -4,
    "first": 3,
    "last": -1,
}


@pytest.mark.parametrize(("text", "value"), GOLDEN.items())
def test_operator(text: str, value: object) -> None:
    """Each operator on [3, -4, 3, 8, -1], by hand; division and remainder round down: -4 div 2 = -2, -1 mod 5 = 4."""
    assert run_program(compile_program(text), LIST) == value


def test_every_operator_has_a_golden_value() -> None:
    assert {text.split()[0] for text in GOLDEN} == set(OPERATORS)


def test_pipeline_and_lone_integer() -> None:
    """Steps act left to right, and on an integer too: even -4, 8 -> doubled -8, 16 -> sum 8 -> 8 - 9 = -1 -> 1."""
    assert run_program(compile_program("keep even | mul 2 | sum | sub 9 | abs"), LIST) == 1


@pytest.mark.parametrize(
    "text",
    ["", "|", "sort |", "| sort", "sort sort", "sort|sum", "sort 1", "take", "take -1", "take 1 2", "div 0", "mod 0"]
    + ["add 100", "add +1", "add 1_0", "add ٣", "add x", "keep", "keep 3", "keep >", "keep > even", "keep even 3"]
    + ["Sort", "nosuch", " | ".join(["sort"] * (MAX_STEPS + 1)), "add " + "9" * 100_000],
)
def test_no_program(text: str) -> None:
    """What is no program is refused when compiled, numbers that only look like numbers included."""
    with pytest.raises(CompileError):
        compile_program(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("sum | sort", LIST), ("sum | sum", LIST), ("max", ()), ("min", ()), ("first", ()), ("last", ())]
    + [(" | ".join(["square"] * 4), (9,)), ("sums", (MAX_VALUE, 1))],
)
def test_no_value(text: str, value: tuple[int, ...]) -> None:
    """A list operator on an integer, an empty list without a value, and values out of bounds are runtime faults.

    9 squared four times is 9^16, far beyond 9,999.
    """
    with pytest.raises(RuntimeFault):
        run_program(compile_program(text), value)


def test_empty_list() -> None:
    """Operators that have a value on the empty list give it."""
    assert [run_program(compile_program(text), ()) for text in ("sum", "len", "count odd")] == [0, 0, 0]
    assert all(
        run_program(compile_program(text), ()) == () for text in ("sort", "sums", "gaps", "rotate 3", "other", "tail 2")
    )


texts = st.one_of(
    st.text(),
    st.lists(st.sampled_from(MINICODE_WORDS), max_size=40).map(" ".join),
    st.lists(st.sampled_from(list(GOLDEN)), max_size=20).map(" | ".join),
)
values = st.one_of(st.integers(-99, 99), st.lists(st.integers(-99, 99), max_size=10))


@given(texts, st.lists(st.builds(Test, values, values), min_size=1, max_size=4))
def test_total_and_pure(text: str, tests: list[Test]) -> None:
    """Any text gets a verdict, the same each time, with one answer a test; JSON and back changes nothing."""
    verdict = judge_minicode(text, tests)
    assert verdict.outcome in OUTCOMES
    assert len(verdict.passed) == len(tests)
    assert verdict.correct == all(verdict.passed)
    thawed = [Test(*json.loads(json.dumps([test.input, test.output]))) for test in tests]
    assert judge_minicode(text, thawed) == verdict == judge_minicode(text, tests)
    json.dumps(dict(verdict.detail))


def test_verdicts() -> None:
    """The outcome is that of the first failing test; `detail` shows it."""
    tests = [Test((1, 2), 2), Test((5, 3), 3), Test((), 0)]
    verdict = judge_minicode("max", tests)
    assert (verdict.outcome, verdict.passed) == ("failed", (True, False, False))
    assert verdict.detail == {"input": (5, 3), "expected": 3, "got": 5}
    assert judge_minicode("max", tests[::-1]).outcome == "runtime-error"
    assert judge_minicode("maximum", tests).outcome == "compile-error"
    assert judge_minicode("last", tests[:2]).correct


def test_no_tests_is_an_error() -> None:
    """A program without tests must not count as correct: the held-out splits carry none."""
    with pytest.raises(UserError, match="without tests"):
        judge_minicode("sum", [])


def test_words_are_one_flat_vocabulary() -> None:
    """Fewer than 350 distinct words, the integers from -99 to 99 among them."""
    assert len(set(MINICODE_WORDS)) == len(MINICODE_WORDS) < 350
    assert set(INTEGERS) == {str(number) for number in range(-99, 100)} <= set(MINICODE_WORDS)
    assert all(word.split() == [word] for word in MINICODE_WORDS)
