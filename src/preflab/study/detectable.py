"""Says before a study runs which difference each of its claims can detect. Needs no torch.

The deviations come from the study's own finished runs if there are at least two seeds of a claim's arms, otherwise from the
study's `pilot`. A claim that can only detect more than its margin will probably stay undecided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from preflab.analysis.board import Board
from preflab.analysis.gather import Arms, gather
from preflab.analysis.record import Claim, Interval
from preflab.analysis.scores import Scores, share_seeds
from preflab.analysis.statistics import contrast, detectable_difference
from preflab.study.plan import planned_runs
from preflab.study.spec import Pilot, Study

POWER = 0.8
OWN_RUNS = "the study's finished runs"


@dataclass(frozen=True)
class Detectable:
    """What a claim can detect. `difference`: the true contrast that `POWER` of all such studies show, in units of the headline.
    `source`: where the deviations come from."""

    claim: str
    difference: float
    margin: float
    source: str


def detectable_claims(study: Study, directory: Path, problems: int) -> list[Detectable]:
    """Returns what each claim can detect with the study's seeds and `problems` test problems; leaves out a claim whose
    deviations are unknown. All claims at all decodings are one family."""
    if study.seeds < 2 or problems < 2:
        return []
    measured = read_scores(study, directory)
    family = float(len(study.claims) * len(study.evaluation.decodings))
    rows: list[Detectable] = []
    for claim in study.claims:
        known = own_spread(claim, measured) or pilot_spread(claim, study.pilot)
        if known is not None:
            spread, source = known
            difference = detectable_difference(
                **spread, seeds=study.seeds, problems=problems, family=family, power=POWER
            )
            rows.append(Detectable(claim.name, difference, claim.margin, source))
    return rows


def read_scores(study: Study, directory: Path) -> dict[str, Scores]:
    """Returns the scores of the arms that have finished runs, at the first decoding."""
    arms: Arms = gather(planned_runs(study, directory))
    if not any(not run.diverged for runs in arms.values() for run in runs):
        return {}
    board = Board.of(arms, "chosen", study.score)
    return {name: board.table(runs, "chosen", measure=study.headline or study.score) for name, runs in arms.items()}


def own_spread(claim: Claim, scores: Mapping[str, Scores]) -> tuple[dict[str, float], str] | None:
    """Returns the deviations of a claim's contrast in the study's own runs; None with fewer than two seeds of its arms."""
    arms = [scores[name] for name in claim.contrast if name in scores]
    if len(arms) < len(claim.contrast) or not share_seeds(*arms):
        return None
    value: Interval = contrast(scores, claim.contrast)
    spread = {"seed_sd": value.seed_sd, "problem_sd": value.problem_sd, "noise_sd": value.noise_sd}
    known = {name: deviation for name, deviation in spread.items() if deviation is not None}
    return (known, OWN_RUNS) if len(known) == len(spread) else None


def pilot_spread(claim: Claim, pilot: Pilot | None) -> tuple[dict[str, float], str] | None:
    """Returns the deviations of a claim's contrast by the pilot. The pilot's are those of a difference of two arms, whose
    squared weights sum to 2. The variance of another contrast is larger by the sum of its squared weights over 2."""
    if pilot is None:
        return None
    scale = (sum(weight**2 for weight in claim.contrast.values()) / 2) ** 0.5
    spread = {"seed_sd": pilot.seed_sd, "problem_sd": pilot.problem_sd, "noise_sd": pilot.noise_sd}
    return {name: scale * deviation for name, deviation in spread.items()}, pilot.source
