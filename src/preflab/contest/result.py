"""Makes the record of a contest from the judged pairs of all contestants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from preflab.analysis.intervals import Floats
from preflab.analysis.winrates.agreement import Agreement, can_judge
from preflab.analysis.winrates.bradley_terry import ArmScores, bradley_terry
from preflab.contest.analysis import JudgedPairs, analyse_pair
from preflab.contest.record import ContestPair, ContestResult
from preflab.contest.settings import Contest


def analyse_contest(
    contest: Contest,
    testbed: str,
    judged: Sequence[JudgedPairs],
    labels: Mapping[str, float],
    agreement: Agreement | None,
    notes: Sequence[str],
) -> ContestResult:
    """Computes the result of a contest from the judged pairs. `labels`: maps the name of each labelled pair to the mean
    of people's labels. `agreement`: the judge's agreement with labelled pairs, or None if the judge was not checked."""
    pairs = tuple(analyse_pair(pair, labels, family=len(judged), trusted=can_judge(agreement)) for pair in judged)
    names = [contestant.name for contestant in contest.contestants]
    outcomes = {(pair.first, pair.second): pair.outcomes for pair in judged}
    seeds = max(table.shape[0] for table in outcomes.values())
    every = {name: np.broadcast_to(table, (seeds, table.shape[1])) for name, table in outcomes.items()}
    return ContestResult(
        judge=str(contest.judge.judge),
        template=contest.judge.template_name,
        contestants={contestant.name: contestant.members for contestant in contest.contestants},
        testbed=testbed,
        prompts=len(judged[0].questions[0]),
        seeds=seeds,
        agreement=agreement,
        pairs=pairs,
        scores=score_contestants(names, every, agreement, pairs) if len(names) > 2 else None,
        settings=contest.dump(),
        notes=tuple(notes),
    )


def score_contestants(
    names: Sequence[str],
    outcomes: Mapping[tuple[str, str], Floats],
    agreement: Agreement | None,
    pairs: Sequence[ContestPair],
) -> ArmScores:
    """Computes Bradley-Terry scores from the judge's outcomes. The judge can be checked on labelled pairs and on
    people's labels. If such a check does not show that the judge is better than a coin, returns a reason instead of
    scores."""
    checks = {"the labelled pairs of --agreement": agreement}
    for pair in pairs:
        if pair.correction is not None:
            checks[f"people's labels of {pair.first} against {pair.second}"] = pair.correction.agreement
    failed = [name for name, check in checks.items() if not can_judge(check)]
    if failed:
        return ArmScores({}, f"the judge is not clearly better than a coin on {failed[0]}, so there are no scores")
    return bradley_terry(names, outcomes)
