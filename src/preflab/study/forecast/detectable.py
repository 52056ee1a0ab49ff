"""Computes, before a study runs, the smallest difference that each claim of the study can detect. Does not import
torch.

The standard deviations of a claim come from the study's own finished runs if the claim's arms have finished at least
two seeds. If not, they come from the study's `pilot`. A claim that can detect only differences above its margin will
probably stay undecided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from preflab.analysis.board import Board
from preflab.analysis.gather import Arms, gather
from preflab.analysis.record import Claim, DecodingChoice
from preflab.analysis.scores import Scores, share_seeds
from preflab.analysis.statistics import contrast, detectable_difference
from preflab.study.looks import looks_of
from preflab.study.plan import planned_runs
from preflab.study.runner import is_done
from preflab.study.spec import Pilot, Study

POWER = 0.8
OWN_RUNS = "the study's finished runs"


@dataclass(frozen=True)
class Detectable:
    """The smallest difference that a claim can detect. `difference`: a value of the claim's contrast (a weighted sum of
    arms' mean scores), in units of `measure`. If the true value of the contrast is `difference`, the study detects the
    contrast with probability `POWER`. `source`: the runs from which the standard deviations come."""

    claim: str
    measure: str
    difference: float
    margin: float
    source: str


def detectable_claims(study: Study, directory: Path | None, problems: int) -> list[Detectable]:
    """Returns the smallest difference that each claim can detect after all seeds of the study. If the difference
    depends on the decoding setting (such as greedy decoding or sampling at temperature 1), returns the largest
    difference. Leaves out a claim whose standard deviations are unknown. The correction for multiple tests covers all
    claims at all decoding settings. If the study has several looks (see `study.looks`), the correction is that of the
    last look. `directory`: the directory of the study's runs; None if the runs will be replaced. `problems`: the number
    of test problems."""
    if not study.claims or study.seeds < 2 or problems < 2:
        return []
    headline = study.headline or study.score
    arms = gather_finished(study, directory) if directory is not None else {}
    family = len(study.claims) * len(study.evaluation.decodings) * looks_of(study)[-1].times
    rows: list[Detectable] = []
    for claim in study.claims:
        measure = claim.measure or headline
        tables = read_scores(study, arms, measure)
        spreads = [spread for scores in tables if (spread := own_spread(claim, scores))]
        if not spreads and study.pilot is not None and measure == headline:
            spreads = [scaled_pilot(claim, study.pilot)]
        differences = [
            detectable_difference(
                **spread.model_dump(exclude={"source"}),
                seeds=study.seeds,
                problems=problems,
                family=family,
                power=POWER,
            )
            for spread in spreads
        ]
        if differences:
            rows.append(Detectable(claim.name, measure, max(differences), claim.margin, spreads[0].source))
    return rows


def gather_finished(study: Study, directory: Path) -> Arms:
    """Returns the finished runs that were made with the present settings of the study. Returns {} if there are no such
    runs, or if the runs were measured on different problems."""
    arms = gather(run for run in planned_runs(study, directory) if is_done(run))
    finished = [run for runs in arms.values() for run in runs if not run.diverged]
    if not finished or any({*run.problems("chosen")} != {*finished[0].problems("chosen")} for run in finished):
        return {}
    return arms


def read_scores(study: Study, arms: Arms, measure: str) -> list[dict[str, Scores]]:
    """Returns the scores of each arm on a measure, as a list with one dictionary for each decoding setting (such as
    greedy decoding and sampling at temperature 1). Returns [] if there are no arms."""
    declared = [each for row in study.measures.values() for each in row]
    boards: dict[DecodingChoice, Board] = {
        decoding: Board.of(arms, decoding, study.score, declared) for decoding in study.evaluation.decodings if arms
    }
    return [
        {name: board.table(runs, decoding, measure=measure) for name, runs in arms.items()}
        for decoding, board in boards.items()
    ]


def own_spread(claim: Claim, scores: Mapping[str, Scores]) -> Pilot | None:
    """Returns the standard deviations of a claim's contrast (a weighted sum of arms' mean scores), computed from the
    study's own runs. Returns None if the claim's arms have not finished at least two common seeds."""
    arms = [scores[name] for name in claim.contrast if name in scores]
    if len(arms) < len(claim.contrast) or not share_seeds(*arms):
        return None
    value = contrast(scores, claim.contrast)
    if value.seed_sd is None or value.problem_sd is None or value.noise_sd is None:
        return None
    return Pilot(source=OWN_RUNS, seed_sd=value.seed_sd, problem_sd=value.problem_sd, noise_sd=value.noise_sd)


def scaled_pilot(claim: Claim, pilot: Pilot) -> Pilot:
    """Returns the standard deviations of a claim's contrast (a weighted sum of arms' mean scores), derived from the
    pilot. The pilot's standard deviations belong to a difference of two arms, in which the squared weights sum to 2.
    For another contrast, the variance is multiplied by half the sum of the contrast's squared weights."""
    scale = (sum(weight**2 for weight in claim.contrast.values()) / 2) ** 0.5
    scaled = {name: scale * value for name, value in pilot if name != "source"}
    return pilot.model_copy(update=scaled)
