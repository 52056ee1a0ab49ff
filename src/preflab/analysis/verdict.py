"""The study's answer in a sentence, and whether it would stand under the budget that was not equalised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from preflab.analysis.record import results as report
from preflab.analysis.scores import Scores
from preflab.analysis.statistics import Winner
from preflab.meter import Unit
from preflab.study.spec import Study

Holds = Literal["yes", "no", "unknown"]
MOST_NAMES = 5  # in a headline


def verdict(
    study: Study,
    winner: Winner,
    scores: Mapping[str, Scores],
    spent: Mapping[str, Mapping[Unit, float] | None],
    metric: str,
    evaluator: report.Evaluator,
) -> report.Verdict:
    """Names the winner only where the leader beats every other arm at once; otherwise the arms that it is not told from.

    An evaluator that may be no better than a coin cannot rank: then nobody wins.
    """
    level = float(scores[winner.leader].values.mean())
    share = report.known_metric(metric).share
    shown = f"{level:.1%}" if share else f"{level:.2f}"
    under = f" under equal {study.budget.unit}" if study.budget else ""
    cost = getattr(study.arms[winner.leader].method, "n", 1)
    shown += f" at {cost} samples an answer" if cost > 1 else ""
    decided, unsolved = winner.decided and evaluator.can_rank, share and not level
    if not evaluator.can_rank and evaluator.accuracy is not None:
        found = evaluator.accuracy
        sentence = (
            f"Cannot rank: the evaluator orders {found.estimate:.1%} of held-out pairs rightly (95% interval "
            f"{found.low:.1%} to {found.high:.1%}), which does not exclude a coin. {winner.leader} has the highest "
            f"{metric}, {shown}."
        )
    elif not winner.comparisons:
        sentence = f"There is one arm, {winner.leader}, at {metric} {shown}: nothing to compare."
    elif decided:
        nearest = min(winner.comparisons, key=lambda found: found.difference)
        sentence = (
            f"{winner.leader} won{under}: {metric} {shown}, ahead of the next, {nearest.second}, by "
            f"{_span(nearest.difference, nearest.low, nearest.high, share)}."
        )
    elif unsolved:
        sentence = f"Not decided{under}: no arm solved a problem ({metric} {shown})."
    else:
        others = ", ".join(winner.contenders)
        if len(winner.contenders) > MOST_NAMES:  # the report lists them elsewhere
            some = "any" if len(winner.contenders) == len(winner.comparisons) else len(winner.contenders)
            others = f"{some} of the {len(winner.comparisons)} others"
        sentence = (
            f"Not decided{under}: {winner.leader} has the highest {metric}, {shown}, and cannot be told from {others}."
        )
    holds, why = under_other_budget(study, winner, spent)
    return report.Verdict(
        sentence=sentence,
        winner=winner.leader if decided else None,
        tied=() if unsolved else winner.contenders,
        preliminary=winner.preliminary,
        holds_under_other_budget=holds,
        other_budget=why,
        method="Paired differences over seeds and problems, both taken as samples. The intervals of all comparisons with "
        "the leader hold at once with 95% (family-wise); their coverage was checked by simulation.",
    )


def under_other_budget(
    study: Study, winner: Winner, spent: Mapping[str, Mapping[Unit, float] | None]
) -> tuple[Holds, str]:
    """A winner that used no more of the other budget than any arm it beat would win under that one too.

    Where it used more, nothing here says what the others would have made of as much: unknown.
    """
    if study.budget is None or not winner.decided:
        return "unknown", "There is no verdict to carry over." if not winner.decided else "No budget was equalised."
    other: Unit = "labels" if study.budget.unit == "compute" else "compute"
    known = {arm: amounts[other] for arm, amounts in spent.items() if amounts is not None}
    beaten = [found.second for found in winner.comparisons]
    elsewhere = [arm for arm in (winner.leader, *beaten) if arm not in known]
    if elsewhere:
        return "unknown", f"What {', '.join(elsewhere)} used is not known: trained elsewhere."
    mine = known[winner.leader]
    less = {arm: known[arm] for arm in beaten if known[arm] < mine}
    if not less:
        return "yes", f"{winner.leader} used no more {other} than any arm that it beat ({mine:,.3g})."
    used = ", ".join(f"{arm} {amount:,.3g}" for arm, amount in less.items())
    return "unknown", (
        f"{winner.leader} used more {other} ({mine:,.3g}) than {used}. What they would do with as much was not measured."
    )


def _span(estimate: float, low: float | None, high: float | None, share: bool) -> str:
    unit, scale = (" points", 100.0) if share else ("", 1.0)
    if low is None or high is None:
        return f"{scale * estimate:.1f}{unit} (no interval: one seed)"
    return f"{scale * estimate:.1f}{unit} (95% interval {scale * low:.1f} to {scale * high:.1f})"
