"""Writes the verdict of a study as a sentence, and checks whether the same arm would win if the other budget (compute
instead of labels, or labels instead of compute) were equal for all arms. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from preflab.analysis.record import Comparison, DecodingChoice, EvaluatorResult, Measure, StudyVerdict
from preflab.analysis.scores import Scores
from preflab.analysis.statistics import Winner
from preflab.meter import Unit
from preflab.text import with_prefix

MOST_NAMES = 5
"""The largest number of contenders that the verdict's sentence names."""
RULE = (
    "Differences are paired by seed and problem. Both seeds and problems are treated as random samples. For each decoding "
    "setting, the intervals of all comparisons with the leader are simultaneous 95% intervals (family-wise). Their coverage "
    "was checked by simulation."
)
Used = Mapping[str, Mapping[Unit, float] | None]
"""Maps each arm to the compute and the labels that the arm used, or to None if they are unknown."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The comparisons that decide the verdict. `winner`: the comparisons of the leader with every other arm. `starts`:
    the comparisons of each arm with its starting baselines, and of the leader with every baseline. A baseline cannot
    win, but an arm must beat every baseline to win."""

    winner: Winner
    starts: Sequence[Comparison] = ()

    @property
    def leader(self) -> str:
        return self.winner.leader

    @property
    def against_baselines(self) -> list[Comparison]:
        """The comparisons of the leader with each baseline."""
        return [pair for pair in self.starts if pair.first == self.leader]

    @property
    def lost(self) -> list[Comparison]:
        """The comparisons in which a baseline is better than the leader."""
        return [pair for pair in self.against_baselines if pair.verdict == "worse"]

    @property
    def unbeaten(self) -> tuple[str, ...]:
        """The names of the contenders, which are the arms that the leader does not beat. If there are no contenders, the
        names of the baselines that the leader does not beat. The leader wins only if this tuple is empty."""
        level = tuple(pair.second for pair in self.against_baselines if pair.verdict != "better")
        return self.winner.contenders or level

    @property
    def decided(self) -> bool:
        """True if the leader is better than every other arm and every baseline. False if the study has no other arm and
        no baseline."""
        return bool(self.pairs) and not self.unbeaten

    @property
    def pairs(self) -> tuple[Comparison, ...]:
        """The comparisons of the leader with all other arms and with the baselines."""
        return (*self.winner.comparisons, *self.against_baselines)


def study_verdict(
    evidence: Evidence,
    scores: Mapping[str, Scores],
    *,
    headline: Measure,
    evaluator: EvaluatorResult,
    budget: Unit | None,
    used: Used,
    samples_per_answer: int,
    decoding: DecodingChoice = "chosen",
) -> StudyVerdict:
    """Returns the verdict of a study. The verdict names a winner only if the leader is significantly better than all
    other arms and all baselines. If there is no winner, the verdict names the arms that do not differ significantly
    from the leader. If the evaluator is not shown to be better than chance, no arm wins.

    `samples_per_answer`: the number of samples that the leader draws for each answer.
    """
    levels = {arm: float(table.values.mean()) for arm, table in scores.items()}
    is_decided, is_unsolved = evidence.decided and evaluator.can_rank, headline.share and not any(levels.values())
    at = level_words(levels[evidence.leader], headline.share)
    at += f" at {samples_per_answer} samples an answer" if samples_per_answer > 1 else ""
    under = f" under equal {budget}" if budget and evidence.winner.comparisons else ""
    if not evaluator.can_rank and evaluator.doubtful is not None:
        sentence = coin_words(evaluator, evidence.leader, headline.name, at)
    elif is_unsolved and not is_decided:
        sentence = f"Not decided{under}: no arm solved any problem ({headline.name} {at})."
    else:
        sentence = answer_words(evidence, levels, headline, at=at, under=under)
    holds, why = holds_under_other_budget(evidence, budget, used)
    return StudyVerdict(
        sentence=sentence,
        winner=evidence.leader if is_decided else None,
        tied=() if is_unsolved or evidence.lost else evidence.unbeaten,
        preliminary=any(pair.preliminary for pair in evidence.pairs),
        holds_under_other_budget=holds,
        other_budget=why,
        method=RULE,
        evidence=tuple(
            pair.model_copy(update={"metric": headline.name, "decoding": decoding})
            for pair in (*evidence.winner.comparisons, *evidence.starts)
        ),
    )


def answer_words(evidence: Evidence, levels: Mapping[str, float], headline: Measure, *, at: str, under: str) -> str:
    """Returns the verdict's sentence for an evaluator that can rank arms. `at`: the leader's mean score in words.
    `under`: words for the budget that was equal for all arms, or '' if no budget was equal."""
    leader, metric, share = evidence.leader, headline.name, headline.share
    baselines = {pair.second for pair in evidence.against_baselines}
    if not evidence.pairs:
        return f"{leader} is the only arm, at {metric} {at}: the study has no other arm and no baseline to compare it with."
    if evidence.lost:
        best = min(evidence.lost, key=lambda pair: pair.difference)
        behind = difference_words(best, share, sign=-1)
        return (
            f"No arm beats the baseline {best.second}{under}, at {metric} {level_words(levels[best.second], share)}: "
            f"the best arm, {leader}, at {at}, is behind by {behind}."
        )
    if evidence.decided:
        nearest = min(evidence.pairs, key=lambda pair: pair.difference)
        next_one = f"its baseline {nearest.second}" if nearest.second in baselines else f"the next, {nearest.second},"
        return f"{leader} won{under}: {metric} {at}, ahead of {next_one} by {difference_words(nearest, share)}."
    if evidence.winner.contenders:
        apart = contender_words(evidence.winner)
        return f"Not decided{under}: {leader} has the highest {metric}, {at}, but does not differ significantly from {apart}."
    apart = " and ".join(f"{name} ({level_words(levels[name], share)})" for name in evidence.unbeaten)
    noun = "baseline" if len(evidence.unbeaten) == 1 else "baselines"
    return f"Not decided{under}: {leader}, at {metric} {at}, does not differ significantly from its {noun} {apart}."


def level_words(level: float, share: bool) -> str:
    return f"{level:.1%}" if share else f"{level:.2f}"


def coin_words(evaluator: EvaluatorResult, leader: str, metric: str, at: str) -> str:
    """Returns the verdict's sentence for an evaluator that is not shown to be better than chance."""
    accuracy = evaluator.doubtful
    assert accuracy is not None
    return (
        f"Cannot rank: the evaluator orders {accuracy.estimate:.1%} of held-out pairs correctly (95% interval "
        f"{accuracy.low:.1%} to {accuracy.high:.1%}), so it may be no better than chance. {leader} has the highest {metric}, "
        f"{at}."
    )


def contender_words(winner: Winner) -> str:
    """Returns the names of the contenders, which are the arms that the leader does not beat. If there are more than
    `MOST_NAMES` contenders, returns words with their number instead."""
    if len(winner.contenders) <= MOST_NAMES:
        return ", ".join(winner.contenders)
    count = "any" if len(winner.contenders) == len(winner.comparisons) else len(winner.contenders)
    return f"{count} of the {len(winner.comparisons)} others"


def holds_under_other_budget(
    evidence: Evidence, budget: Unit | None, used: Used
) -> tuple[Literal["yes", "no", "unknown"], str]:
    """Returns whether the winner would also win if the other budget were equal for all arms, and the reason.

    In a study that gave all arms the same number of labels, the other budget is compute. In a study that gave all arms
    the same compute, the other budget is labels. The result is "yes" if each beaten arm used at least as much of the
    other budget as the winner. If a beaten arm used less, the result is "unknown", because the study did not measure
    this arm with the winner's amount. Baselines are ignored, because a baseline has no budget.
    """
    beaten = [pair.second for pair in evidence.winner.comparisons]
    if not evidence.decided:
        return "unknown", "No arm won, so there is no winner to check under another budget."
    if budget is None:
        return "unknown", "The arms had no common budget."
    if not beaten:
        return "unknown", "The winner was compared only with a baseline, and a baseline has no budget."
    other: Unit = "labels" if budget == "compute" else "compute"
    amounts = {arm: each[other] for arm, each in used.items() if each is not None}
    without_amount = [arm for arm in (evidence.leader, *beaten) if arm not in amounts]
    if without_amount:
        return (
            "unknown",
            f"The use of {other} is not known for arms that were trained elsewhere: {', '.join(without_amount)}.",
        )
    own = amounts[evidence.leader]
    less = {arm: amounts[arm] for arm in beaten if amounts[arm] < own}
    if not less:
        return (
            "yes",
            f"{evidence.leader} used no more {other} than any arm that it beat ({_format_amount(own, other)}).",
        )
    others = ", ".join(f"{arm} ({_format_amount(amount, other)})" for arm, amount in less.items())
    return "unknown", (
        f"{evidence.leader} used more {other} ({_format_amount(own, other)}) than {others}. "
        "How well they would score with the same amount was not measured."
    )


def _format_amount(amount: float, unit: Unit) -> str:
    return f"{with_prefix(amount)} FLOP" if unit == "compute" else f"{amount:,.0f}"


def difference_words(comparison: Comparison, share: bool, *, sign: int = 1) -> str:
    """Returns a difference of two arms with its interval as text. If `sign` is -1, the difference is the second arm minus
    the first arm. If `share` is True, the difference is in percentage points."""
    unit, scale = (" points", 100.0 * sign) if share else ("", 1.0 * sign)
    estimate, low, high = comparison.difference, comparison.low, comparison.high
    if low is None or high is None:
        return f"{scale * estimate:.1f}{unit} (no interval: one seed)"
    low, high = sorted((scale * low, scale * high))
    return f"{scale * estimate:.1f}{unit} (95% interval {low:.1f} to {high:.1f})"
