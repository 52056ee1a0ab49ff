"""The numbers on the page are those of the record, rounded, each in its own row and column."""

from __future__ import annotations

import re

import pytest

from preflab.analysis.record import Results


def first_table(page: str, section: str) -> str:
    return page.partition(f'<section id="{section}">')[2].partition("</table>")[0]


def names(page: str, section: str) -> list[str]:
    """The names of arms in the first table of a section, from above."""
    return re.findall(r'<span class="name"><svg.*?</svg>(.*?)</span>', first_table(page, section), flags=re.DOTALL)


def cells(page: str, section: str) -> list[list[str]]:
    """The texts of the number cells of each row in the first table of a section, but for its head."""
    rows = re.findall(r"<tr>(.*?)</tr>", first_table(page, section), flags=re.DOTALL)
    texts = [re.findall(r'<td class="n">(.*?)</td>', row, flags=re.DOTALL) for row in rows]
    return [[" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in row] for row in texts if row]


def tenths(*values: float | None, sign: str = "") -> list[str]:
    """Shares as the page should round them, computed apart from its code: .1234 is 12.3."""
    assert None not in values
    return [f"{100 * value:{sign}.1f}".replace("-", "−") for value in values if value is not None]


def test_arms_have_the_numbers_of_the_record(results: Results, page: str) -> None:
    """Protects the first table that is read: each arm's shares, intervals and costs are its own, under the right column. The
    winner stands first, the others by their score."""
    order = sorted(results.arms, key=lambda arm: -(arm.measures[0].value.estimate or 0))
    shown = cells(page, "arms")
    assert names(page, "arms") == [arm.name for arm in order]
    for arm, row in zip(order, shown, strict=True):
        whole = {(each.metric, each.decoding): each.value for each in arm.measures if not each.level}
        for metric, cell in zip(("pass@1", "pass@5"), row, strict=False):
            chosen, unit = whole[metric, "chosen"], whole[metric, "unit"]
            (here, low, high, other) = tenths(chosen.estimate, chosen.low, chosen.high, unit.estimate)
            assert cell.startswith(f"{here}% [{low}, {high}]") and cell.endswith(f"T = 1: {other}%")
        reward, kl = whole["reward", "chosen"].estimate, whole["kl", "chosen"].estimate
        assert row[2].startswith(f"{reward:.2f} [") and float(row[3].split()[0]) == pytest.approx(kl, abs=0.005)
        spent = arm.runs[0].spent
        assert row[4:6] == [f"{spent.labels + spent.reward_calls:,.0f}", f"{spent.updates:,.0f}"]
        assert row[7] == f"{arm.inference_cost:g}"


def test_comparisons_and_runs_have_the_numbers_of_the_record(results: Results, page: str) -> None:
    """Protects each difference, interval and p-value, and what each seed measured, from another row's numbers."""
    for pair, row in zip(results.comparisons, cells(page, "comparisons"), strict=True):
        (difference, low, high) = tenths(pair.estimate, pair.low, pair.high, sign="+")
        assert row == [f"{difference} points", f"[{low}, {high}]", f"{pair.p_value:.2g}"]
    assert names(page, "comparisons") == [name for pair in results.comparisons for name in (pair.first, pair.second)]
    assert names(page, "runs") == [arm.name for arm in results.arms]
    runs = [run for arm in results.arms for run in arm.runs]
    for run, row in zip(runs, cells(page, "runs"), strict=True):
        (chosen, unit) = tenths(run.metrics["pass@1"], run.metrics_unit["pass@1"])
        assert row[:3] == [str(run.seed), f"{chosen}%", f"{unit}%"] and float(row[3]) == run.temperature
