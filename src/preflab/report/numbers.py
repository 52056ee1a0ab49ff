"""Formats numbers as short text: with few digits, in percent or percentage points, and with interval bounds."""

from __future__ import annotations

from preflab.analysis.record import Interval, Measure
from preflab.text import with_prefix

DASH = "—"
SHARE = Measure(name="share", label="share", share=True)


def format_number(value: float | None) -> str:
    """Writes a number with about three digits: 0.042, 1.27, 48.3, 612. Writes all digits before the decimal point of a
    larger number: 16,384. Writes a tiny number as 3.1e−05, and None as a dash."""
    if value is None:
        return DASH
    size = abs(value)
    if size >= 100 or value == int(value):
        return signed_zero(f"{value:,.0f}")
    if 0 < size < 0.0005:
        return signed_zero(f"{value:.1e}")
    return signed_zero(f"{value:.{1 if size >= 10 else 2 if size >= 1 else 3}f}")


def format_p_value(value: float | None) -> str:
    """Writes a p-value: 0.42, 0.003. Writes a p-value below 0.001 as '< 0.001', and None as a dash."""
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.{2 if value >= 0.1 else 3}f}".removesuffix(".00")


def signed_zero(text: str) -> str:
    """Removes the sign of a number that was rounded to zero, such as '-0.0'. In any other number, replaces each hyphen by
    a minus sign (U+2212)."""
    return text.replace("-", "−") if text.strip("-0.,%") else text.lstrip("-")


def format_scaled(value: float | None) -> str:
    """Writes a number with a decimal prefix: 950, 16.4k, 2.1M, 1.3P. Writes None as a dash."""
    return DASH if value is None else with_prefix(value)


def format_quantity(metric: Measure, value: float | None) -> str:
    """Writes a value of a metric. A share is written in percent."""
    if value is None or not metric.share:
        return format_number(value)
    return signed_zero(f"{100 * value:.1f}%")


def format_bounds(metric: Measure, interval: Interval, *, sign: bool = False) -> str:
    """Writes the bounds of an interval, such as '[60.1, 65.5]'. Writes bounds of shares in percent, without the percent
    sign. Returns '' if there is no interval. If `sign` is True, a positive bound gets a plus sign."""
    if interval.low is None or interval.high is None:
        return ""
    ends = (format_plain(metric, interval.low, sign=sign), format_plain(metric, interval.high, sign=sign))
    return f"[{ends[0]}, {ends[1]}]"


def format_share(value: float | None) -> str:
    """Writes a share in percent."""
    return format_quantity(SHARE, value)


def format_share_interval(interval: Interval) -> str:
    """Writes a share with its interval: 53.0% [48.1, 57.9]."""
    return f"{format_quantity(SHARE, interval.estimate)} {format_bounds(SHARE, interval)}".strip()


def format_plain(metric: Measure, value: float, *, sign: bool = False) -> str:
    """Writes a value without its unit. Writes a share in percent, without the percent sign. If `sign` is True, a
    positive value gets a plus sign."""
    text = signed_zero(f"{100 * value:.1f}") if metric.share else format_number(value)
    return f"+{text}" if sign and value > 0 else text


def format_tick(value: float, *, sign: bool = False) -> str:
    """Writes a number for a tick label, with up to six digits and without trailing zeros. If `sign` is True, a positive
    number gets a plus sign."""
    text = signed_zero(f"{value:,.6g}")
    return f"+{text}" if sign and value > 0 else text


def format_difference(metric: Measure, value: float | None) -> str:
    """Writes a difference of two values of a metric. For shares, writes percentage points: '+8.3 points'."""
    if value is None:
        return DASH
    return format_plain(metric, value, sign=True) + (" points" if metric.share else "")


def format_duration(seconds: float | None) -> str:
    """Writes a duration: 41 s, 3 min 10 s, 2 h 05 min."""
    if seconds is None:
        return DASH
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_memory(amount: float | None) -> str:
    """Writes an amount of memory in decimal GB or MB. `amount`: the number of bytes."""
    if amount is None:
        return DASH
    return f"{amount / 1e9:.1f} GB" if amount >= 1e9 else f"{amount / 1e6:.0f} MB"
