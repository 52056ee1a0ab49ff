"""Numbers as people read them, and text in which nothing is hidden."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflab import text
from preflab.analysis.record import Interval, known_measure
from preflab.report import numbers
from preflab.report.forest import Scale
from preflab.report.panels import shortened

SHARE, KL = known_measure("pass@1"), known_measure("kl")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0"), (0.042, "0.042"), (1.274, "1.27"), (48.26, "48.3"), (612.4, "612"), (16384, "16,384"), (None, "—")]
    + [(3.1e-5, "3.1e−05"), (-1.5, "−1.50"), (-0.0004999, "−5.0e−04"), (1.0, "1")],
)
def test_number(value: float | None, expected: str) -> None:
    """About three digits, whatever the size, with a true minus sign and a dash for the unknown."""
    assert numbers.format_number(value) == expected


def test_counted() -> None:
    """One of a thing is singular."""
    assert [text.counted(count, "seed") for count in (0, 1, 3)] == ["0 seeds", "1 seed", "3 seeds"]


def test_names_that_differ_at_their_ends_stay_different() -> None:
    """Protects figures of one method in three sizes."""
    names = ["dpo-iter-small", "dpo-iter-middle", "dpo-iter-large", "dpo"]
    assert [shortened(name, 13) for name in names] == ["dpo-it…-small", "dpo-it…middle", "dpo-it…-large", "dpo"]


def test_shares_are_percent_and_their_differences_points() -> None:
    """0.628 is 62.8%, a gap of 0.083 is 8.3 points, and a rounded zero has no sign."""
    assert numbers.format_quantity(SHARE, 0.628) == "62.8%"
    assert numbers.format_quantity(SHARE, -0.0001) == "0.0%"
    assert numbers.format_difference(SHARE, 0.083) == "+8.3 points"
    assert numbers.format_difference(KL, -1.2) == "−1.20"
    assert numbers.format_bounds(SHARE, Interval(estimate=0.5, low=0.21, high=0.66), sign=True) == "[+21.0, +66.0]"
    assert numbers.format_bounds(SHARE, Interval(estimate=0.5)) == ""


def test_scales_durations_and_memory() -> None:
    """Decimal prefixes; hours only where there are any."""
    assert [numbers.format_scaled(value) for value in (950, 16384, 1.31e15, None)] == ["950", "16.4k", "1.31P", "—"]
    assert [numbers.format_duration(value) for value in (41, 190, 7500)] == ["41 s", "3 min 10 s", "2 h 05 min"]
    assert [numbers.format_memory(value) for value in (7.1e8, 2.5e9)] == ["710 MB", "2.5 GB"]


@given(st.text())
def test_visible_hides_nothing(raw: str) -> None:
    """No control, format or surrogate character survives, except line end, tab and the joiners of letters and emoji."""
    expected = text.visible(raw)
    left = {char for char in expected if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}}
    assert left <= set("\n\t\u200c\u200d")


def test_visible_names_what_it_found() -> None:
    """An escape sequence and a bidirectional override are written out; ordinary text and accents stay."""
    assert text.visible("\x1b[31mred\u202egnp") == "⟨U+001B⟩[31mred⟨U+202E⟩gnp"
    assert text.visible("naïve 日本語 a\u00a0b\r\nc") == "naïve 日本語 a\u00a0b\nc"


@given(st.floats(-100, 100, allow_subnormal=False), st.floats(-3, 3))
def test_a_scale_has_two_to_five_round_numbers(low: float, size: float) -> None:
    """Protects the reader from an axis that ends in -3.92657: every tick is a round number, wherever the scale begins."""
    high = low + 10**size
    ticks = Scale(low, high, zero=False).ticks()
    assert 2 <= len(ticks) <= 5 and low <= min(ticks) and max(ticks) <= high + 1e-6 * (high - low)
    step = ticks[1] - ticks[0]
    assert f"{step:.1e}"[:3] in ("1.0", "2.0", "5.0")
