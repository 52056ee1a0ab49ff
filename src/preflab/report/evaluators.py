"""Writes the measured reliability of an evaluator as text. Also writes the results of pairwise evaluators, which compare
the answers of two arms."""

from __future__ import annotations

from preflab.analysis.record import EvaluatorResult, PairwiseResult
from preflab.analysis.winrates.words import length_words
from preflab.report import numbers, verdicts


def reliability_words(evaluator: EvaluatorResult) -> list[str]:
    """Returns one text for each measured accuracy of an evaluator, such as 'accuracy on held-out pairs 74.1% [70.1,
    77.7]'. Leaves out the accuracies that were not measured."""
    measured = {
        "accuracy on held-out pairs": evaluator.accuracy,
        "cost model: accuracy on held-out pairs": evaluator.cost_accuracy,
        "cost model: signs right": evaluator.sign_accuracy,
        "orders two arms' answers to a problem as the main evaluator does (guessing: 50%)": evaluator.agreement,
    }
    return [f"{words} {numbers.format_share_interval(value)}" for words, value in measured.items() if value]


def pairwise_words(pair: PairwiseResult) -> str:
    """Writes the verdict of a pairwise evaluation: 'ppo is better', 'not decided', or 'not decided: the evaluator cannot
    rank'."""
    return verdicts.state_outcome(pair) if pair.evaluator.can_rank else "not decided: the evaluator cannot rank"


def win_words(pair: PairwiseResult) -> str:
    """Writes the win rate, the ties and the verdict of a pairwise evaluation: 'shorter: dpo against sft, win rate 49.5%
    [47.5, 51.5] (a tie counts half), 85.3% ties: not decided'."""
    bounds = numbers.format_bounds(pair.measure, pair.win_rate)
    share = f"{numbers.format_quantity(pair.measure, pair.win_rate.estimate)} {bounds}".strip()
    ties = "" if pair.ties is None else f" (a tie counts half), {numbers.format_share(pair.ties)} ties"
    return (
        f"{pair.name}: {pair.first} against {pair.second}, {pair.measure.label} {share}{ties}: {pairwise_words(pair)}"
    )


def shares_words(pair: PairwiseResult) -> str:
    """Writes the shares of wins, ties and losses with their intervals: 'win 42.0% [38.1, 45.9], tie 15.0% [12.0, 18.0],
    loss 43.0% [39.0, 47.0]'."""
    return ", ".join(f"{name} {numbers.format_share_interval(share)}" for name, share in pair.shares.items())


def write_shares_and_length(pair: PairwiseResult) -> str:
    """Writes the shares of wins, ties and losses and the length-controlled win rate. Leaves out numbers that are not
    known."""
    return "; ".join(filter(None, [shares_words(pair), "" if pair.length is None else length_words(pair.length)]))


def wins_explained(pair: PairwiseResult) -> str:
    """Returns an explanation of a win and of the win rate: the description of the evaluator and the note of its
    measure."""
    counted = f"{pair.measure.label}: {pair.measure.note}." if pair.measure.note else ""
    return f"{pair.evaluator.description} {counted}".strip()
