"""Win rates as people read them: in Markdown and on the terminal, with what a win is."""

from __future__ import annotations

import csv
import html
import io

from rich.console import Console

from preflab.analysis import record as r
from preflab.evaluation.pairwise import WIN_RATE
from preflab.report import print_summary
from preflab.report.markdown import render_markdown
from preflab.report.page import render_html
from preflab.report.table import render_csv


def duel(name: str, first: str) -> r.PairwiseResult:
    evaluator = r.EvaluatorResult(name=name, description="The answer with fewer words wins.")
    rate = r.Interval(estimate=0.495, low=0.475, high=0.515, seeds=3)
    return r.PairwiseResult(
        name=name, evaluator=evaluator, measure=WIN_RATE, first=first, second="sft", win_rate=rate, ties=0.853
    )


def test_win_rates_say_what_a_win_is(results: r.Results) -> None:
    """Protects who reads one of the two alone: a line a pair, in the order of the results; what a win is stands once for each
    evaluator in Markdown, with what a tie counts."""
    pairs = (duel("shorter", "ppo"), duel("shorter", "dpo"), duel("Shorter", "dpo"))
    results = results.model_copy(update={"pairwise": pairs})
    console = Console(record=True, width=200)
    print_summary(results, console)
    lines = [line for line in console.export_text().splitlines() if ", win rate " in line]
    assert [line.strip() for line in lines] == [
        "shorter: ppo against sft, win rate 49.5% [47.5, 51.5] (a tie counts half), 85.3% ties: not decided",
        "shorter: dpo against sft, win rate 49.5% [47.5, 51.5] (a tie counts half), 85.3% ties: not decided",
        "Shorter: dpo against sft, win rate 49.5% [47.5, 51.5] (a tie counts half), 85.3% ties: not decided",
    ]
    text = render_markdown(results)
    for name in ("shorter", "Shorter"):
        assert text.count(f"- {name}: The answer with fewer words wins. win rate: a tie counts as half a win.\n") == 1
    rows = [text.index(f"| {pair.name}: {pair.first} against sft |") for pair in pairs]
    assert rows == sorted(rows)


def test_wins_ties_and_losses_have_intervals(results: r.Results) -> None:
    """Protects the shares of a pair: each stands beside the win rate with its interval, in Markdown and on the page."""
    shares = {
        "win": r.Interval(estimate=0.07, low=0.05, high=0.09),
        "tie": r.Interval(estimate=0.85, low=0.8, high=0.9),
    }
    pair = duel("shorter", "ppo").model_copy(update={"shares": shares})
    words = "win 7.0% [5.0, 9.0], tie 85.0% [80.0, 90.0]"
    assert_shown(results, pair, words)


def assert_shown(results: r.Results, pair: r.PairwiseResult, words: str) -> None:
    results = results.model_copy(update={"pairwise": (pair,)})
    assert words in render_markdown(results).replace("\\", "")
    assert words in html.unescape(render_html(results))


def rows_of(results: r.Results) -> list[tuple[str, ...]]:
    rows = csv.DictReader(io.StringIO(render_csv(results)))
    columns = ("arm", "quantity", "value", "low", "high", "outcome")
    return [tuple(row[column] for column in columns) for row in rows if row["method"] == "pairwise"]


def test_the_length_controlled_win_rate_stands_beside_the_win_rate(results: r.Results) -> None:
    """Protects from a preference for long answers: Markdown and the page show the controlled rate, or why there is none."""
    pair = duel("shorter", "ppo").model_copy(update={"shares": {"win": r.Interval(estimate=0.5)}})
    rate, phi = r.Interval(estimate=0.45, low=0.4, high=0.5), r.Interval(estimate=1.5, low=1, high=2)
    known, unknown = (
        r.LengthControl(rate=rate, phi=phi, difference=12),
        r.LengthControl(difference=-0.2, reason="so it is"),  # rounded to +0, never to -0
    )
    for length, words in (
        (known, "45.0% [40.0, 50.0] (first minus second: +12 characters on average; phi 1.50 [1.00, 2.00])"),
        (unknown, "none, because so it is (first minus second: +0 characters on average)"),
    ):
        with_length = pair.model_copy(update={"length": length})
        assert_shown(results, with_length, f"win 50.0%; length-controlled win rate: {words}")
        console = Console(record=True, width=400)
        print_summary(results.model_copy(update={"pairwise": (with_length,)}), console)
        assert f"not decided; length-controlled win rate: {words}" in console.export_text()
    one = results.model_copy(update={"pairwise": (pair.model_copy(update={"length": known}),)})
    assert rows_of(one) == [
        ("ppo against sft", "shorter/win rate", "0.495", "0.475", "0.515", "not decided"),
        ("ppo against sft", "shorter/win", "0.5", "", "", ""),
        ("ppo against sft", "shorter/length-controlled win rate", "0.45", "0.4", "0.5", ""),
    ]
    assert len(rows_of(results.model_copy(update={"pairwise": (with_length,)}))) == 2  # no rate, so no row
