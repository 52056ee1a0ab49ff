"""The study's answer in a sentence, and whether it would stand under the budget that was not equalised. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from preflab.analysis.record import Comparison, EvaluatorResult, Measure, StudyVerdict
from preflab.analysis.scores import Scores
from preflab.analysis.statistics import Winner
from preflab.meter import Unit

MOST_NAMES = 5
"""Names of arms in a sentence."""
RULE = (
    "Paired differences over seeds and problems, both taken as samples. The intervals of all comparisons with the leader "
    "hold at once with 95% (family-wise); their coverage was checked by simulation."
)


def study_verdict(
    winner: Winner,
    scores: Mapping[str, Scores],
    *,
    headline: Measure,
    evaluator: EvaluatorResult,
    budget: Unit | None,
    used: Mapping[str, Mapping[Unit, float] | None],
    samples_per_answer: int,
) -> StudyVerdict:
    """Names the winner only where the leader beats every other arm at once; otherwise it names the arms that cannot be told
    apart from the leader. An evaluator that may not be better than a coin cannot rank: then nobody wins.

    `used`: each arm's compute and labels, None where unknown. `samples_per_answer`: what the leader draws for each answer.
    """
    level = float(scores[winner.leader].values.mean())
    metric, share = headline.name, headline.share
    value = f"{level:.1%}" if share else f"{level:.2f}"
    value += f" at {samples_per_answer} samples an answer" if samples_per_answer > 1 else ""
    under = f" under equal {budget}" if budget else ""
    is_decided, is_unsolved = winner.decided and evaluator.can_rank, share and not level
    if not evaluator.can_rank and evaluator.accuracy is not None:
        accuracy = evaluator.accuracy
        sentence = (
            f"Cannot rank: the evaluator orders {accuracy.estimate:.1%} of held-out pairs rightly (95% interval "
            f"{accuracy.low:.1%} to {accuracy.high:.1%}), which does not exclude a coin. {winner.leader} has the highest "
            f"{metric}, {value}."
        )
    elif not winner.comparisons:
        sentence = (
            f"{winner.leader} is the only arm that competes, at {metric} {value}. Baselines are compared, not ranked."
        )
    elif is_decided:
        nearest = min(winner.comparisons, key=lambda comparison: comparison.difference)
        sentence = (
            f"{winner.leader} won{under}: {metric} {value}, ahead of the next, {nearest.second}, by "
            f"{difference_words(nearest, share)}."
        )
    elif is_unsolved:
        sentence = f"Not decided{under}: no arm solved a problem ({metric} {value})."
    else:
        sentence = (
            f"Not decided{under}: {winner.leader} has the highest {metric}, {value}, and cannot be told apart from "
            f"{contender_words(winner)}."
        )
    holds, why = holds_under_other_budget(winner, budget, used)
    return StudyVerdict(
        sentence=sentence,
        winner=winner.leader if is_decided else None,
        tied=() if is_unsolved else winner.contenders,
        preliminary=winner.preliminary,
        holds_under_other_budget=holds,
        other_budget=why,
        method=RULE,
    )


def contender_words(winner: Winner) -> str:
    """The arms that the leader does not beat: their names, or their number where they are many (the report lists them
    elsewhere)."""
    if len(winner.contenders) <= MOST_NAMES:
        return ", ".join(winner.contenders)
    count = "any" if len(winner.contenders) == len(winner.comparisons) else len(winner.contenders)
    return f"{count} of the {len(winner.comparisons)} others"


def holds_under_other_budget(
    winner: Winner, budget: Unit | None, used: Mapping[str, Mapping[Unit, float] | None]
) -> tuple[Literal["yes", "no", "unknown"], str]:
    """A winner that did not use more of the other budget than any arm that it beat would win under that budget too.

    Where it used more, the answer is unknown: the study does not show what the others would do with as much.
    """
    if budget is None or not winner.decided:
        return "unknown", "There is no verdict to carry over." if not winner.decided else "No budget was equalised."
    other: Unit = "labels" if budget == "compute" else "compute"
    amounts = {arm: each[other] for arm, each in used.items() if each is not None}
    beaten = [comparison.second for comparison in winner.comparisons]
    elsewhere = [arm for arm in (winner.leader, *beaten) if arm not in amounts]
    if elsewhere:
        return "unknown", f"What {', '.join(elsewhere)} used is not known: trained elsewhere."
    own = amounts[winner.leader]
    less = {arm: amounts[arm] for arm in beaten if amounts[arm] < own}
    if not less:
        return "yes", f"{winner.leader} used no more {other} than any arm that it beat ({own:,.3g})."
    others = ", ".join(f"{arm} {amount:,.3g}" for arm, amount in less.items())
    return "unknown", (
        f"{winner.leader} used more {other} ({own:,.3g}) than {others}. What they would do with as much was not measured."
    )


def difference_words(comparison: Comparison, share: bool) -> str:
    unit, scale = (" points", 100.0) if share else ("", 1.0)
    estimate, low, high = comparison.difference, comparison.low, comparison.high
    if low is None or high is None:
        return f"{scale * estimate:.1f}{unit} (no interval: one seed)"
    return f"{scale * estimate:.1f}{unit} (95% interval {scale * low:.1f} to {scale * high:.1f})"
