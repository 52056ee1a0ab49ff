"""Chooses the settings of the tuned arms by validation scores. The limit on the number of trials is the same for every
arm."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any, NamedTuple

from pydantic import JsonValue

from preflab.analysis.record import TuningTrial
from preflab.arm.planned import PlannedRun
from preflab.arm.result import TrainedResult
from preflab.errors import UserError
from preflab.evaluation.result import TemperatureChoice
from preflab.study.plan import with_settings
from preflab.study.spec import Study, Tuning
from preflab.train.finished import read_result

Trial = tuple[str, dict[str, Any], PlannedRun]
"""A trial of the tuning stage: its arm, the tuned fields with their values, and its run."""


def must_tune(tuning: Tuning, *, tune: bool) -> bool:
    """Returns True if the tuning stage runs: the user asks for it (`tune`), or the study has no tuned values yet."""
    return tune or not tuning.shipped


def refuse_missing_tuning(study: Study, *, tune: bool) -> None:
    """Raises `UserError` if the user asks for a tuning stage that the study does not have."""
    if tune and study.tuning is None:
        raise UserError(
            f"The study {study.name!r} has no tuning stage for its arms. Leave --tune out, or name values to try under "
            "`tuning`."
        )


def choose_settings(study: Study, trials: Sequence[Trial]) -> list[TuningTrial]:
    """Returns a record of each trial. In each arm, the trials with the best settings are marked as chosen. The best
    settings have the highest mean validation score over the tuning seeds. The record of every other trial contains the
    distance in score to the best settings (`behind`) and its standard error."""
    assert study.tuning is not None
    records: list[TuningTrial] = []
    for name in study.tuning.spaces:
        own = [trial for trial in trials if trial[0] == name]
        by_settings: dict[str, list[PlannedRun]] = {}
        for _, settings, run in own:
            by_settings.setdefault(name_settings(settings), []).append(run)
        best = max(by_settings, key=lambda key: mean_score(by_settings[key]))
        gaps = {key: compare_trials(by_settings[best], runs) for key, runs in by_settings.items() if key != best}
        for _, settings, run in own:
            key = name_settings(settings)
            behind, error = gaps.get(key) or (None, None)
            records.append(
                TuningTrial(
                    arm=name,
                    settings=settings,
                    seed=run.seed,
                    score=trial_score(run),
                    chosen=key == best,
                    behind=behind,
                    behind_error=error,
                )
            )
    return records


def name_settings(settings: Mapping[str, JsonValue]) -> str:
    """Returns the settings as JSON text. Equal settings give the same text."""
    return json.dumps(settings, sort_keys=True)


def mean_score(runs: Sequence[PlannedRun]) -> float:
    """Returns the mean validation score of trials with the same settings; -inf if a trial diverged or failed."""
    scores = [trial_score(run) for run in runs]
    return sum(-math.inf if score is None else score for score in scores) / len(scores)


def compare_trials(best: Sequence[PlannedRun], other: Sequence[PlannedRun]) -> tuple[float, float] | None:
    """Returns the difference in validation score between the best settings and other settings, and the standard error
    of this difference.

    Let d_i be the difference on validation problem i, averaged over the tuning seeds. The result is the mean of d over
    the n problems, and its standard error sd(d) / sqrt(n). This error does not include the variation between training
    seeds. Returns None if a trial diverged, or if there are fewer than two problems.
    """
    differences: dict[str, list[float]] = {}
    others = {run.seed: run for run in other}
    for run in best:
        ours, theirs = scores_by_problem(run), scores_by_problem(others[run.seed])
        if not ours or not theirs:
            return None
        for problem in ours.keys() & theirs.keys():
            differences.setdefault(problem, []).append(ours[problem] - theirs[problem])
    means = [fmean(row) for _, row in sorted(differences.items())]
    return (fmean(means), stdev(means) / math.sqrt(len(means))) if len(means) > 1 else None


def extended_settings(study: Study, trials: Sequence[TuningTrial]) -> Iterator[tuple[str, dict[str, JsonValue]]]:
    """Yields (arm, settings) for each tuned number whose chosen value is the smallest or the largest value that was
    tried. In `settings`, this number has the next smaller or larger value (see `value_beyond`), and the other fields
    keep their chosen values. Leaves out whole numbers, such as numbers of rows, because the data limit such numbers.
    Also leaves out a value that the arm's method does not accept."""
    assert study.tuning is not None
    tuning = study.tuning.model_copy(update={"shipped": tuple(trials)})
    for edge in values_at_edge(tuning):
        if all(isinstance(each, int) for each in edge.tried):
            continue
        settings = {**chosen_settings(trials, edge.arm), edge.field: value_beyond(edge)}
        try:
            with_settings(study.arms[edge.arm], settings, where=f"tuning.{edge.arm}")
        except UserError:
            continue
        yield edge.arm, settings


def value_beyond(edge: Edge) -> float:
    """Returns the value that continues a grid beyond its edge.

    Let z be the value at the edge, y the neighbour of z, and x the neighbour of y on the other side. The first of these
    rules that applies to the grid gives the returned value:

    - The grid has a value that is not positive: z + (z - y).
    - The grid has two values: z * (z / y).
    - All differences between neighbours are equal: z + (z - y).
    - Any other grid: z * (y / x). For example, the value after 1e-4, 3e-4 and 1e-3 is 3e-3.
    """
    row = edge.tried if edge.is_largest else edge.tried[::-1]
    *_, before, last = row
    steps = [after - value for value, after in pairwise(row)]
    is_even = len(row) > 2 and all(math.isclose(step, steps[0], rel_tol=1e-6) for step in steps)
    if is_even or min(row) <= 0:
        return float(f"{last + steps[-1]:.6g}")
    return float(f"{last * (before / row[-3] if len(row) > 2 else last / before):.6g}")


def with_chosen_settings(study: Study, trials: Sequence[TuningTrial]) -> Study:
    """Returns a copy of the study in which the tuned arms have the settings of the chosen trials. The copy also records
    all trials, in `tuning.shipped`."""
    assert study.tuning is not None
    chosen = {trial.arm: trial.settings for trial in trials if trial.chosen}
    arms = {
        name: with_settings(arm, chosen[name], where=f"tuning.{name}") if name in chosen else arm
        for name, arm in study.arms.items()
    }
    tuning = study.tuning.model_copy(update={"shipped": tuple(trials)})
    return study.model_copy(update={"arms": arms, "tuning": tuning})


def trial_score(run: PlannedRun) -> float | None:
    """Returns a trial's validation score at its best temperature; None if the trial diverged or failed."""
    choice = read_trial(run)
    return None if choice is None else max(choice.validation.values())


def scores_by_problem(run: PlannedRun) -> dict[str, float]:
    """Returns a trial's validation scores by problem; {} if the trial diverged or failed."""
    choice = read_trial(run)
    return {} if choice is None else choice.validation_by_problem


def read_trial(run: PlannedRun) -> TemperatureChoice | None:
    """Returns the measurements of a trial on the validation split; None if the trial diverged or failed. Raises
    `UserError` if the result of the trial is damaged."""
    result = read_result(run.directory, TrainedResult) if run.result_file.exists() else None
    if result is None or result.diverged is not None:
        return None
    if result.evaluation is None or not result.evaluation.validation:
        raise UserError(
            f"{run.result_file} is damaged: the scores on the validation split are missing. Restore it, or remove "
            f"{run.directory} and tune again."
        )
    return result.evaluation


def chosen_settings(trials: Iterable[TuningTrial], arm: str) -> dict[str, JsonValue]:
    """Returns the settings of an arm's chosen trial; {} if the arm has no chosen trial."""
    return next((trial.settings for trial in trials if trial.arm == arm and trial.chosen), {})


class Edge(NamedTuple):
    """A chosen number that is the smallest or the largest number that was tried. `tried`: the tried numbers in rising
    order."""

    arm: str
    field: str
    tried: tuple[float | int, ...]
    is_largest: bool

    @property
    def words(self) -> str:
        """A phrase that names the chosen number and the numbers that were tried."""
        value, end = (self.tried[-1], "largest") if self.is_largest else (self.tried[0], "smallest")
        return f"{self.arm}: {self.field} = {value:g} is the {end} of {', '.join(f'{each:g}' for each in self.tried)}"


def values_at_edge(tuning: Tuning) -> Iterator[Edge]:
    """Yields each chosen number that is the smallest or the largest number that was tried."""
    for arm, space in tuning.spaces.items():
        chosen = chosen_settings(tuning.shipped, arm)
        for field in space:
            values = [trial.settings.get(field) for trial in tuning.shipped if trial.arm == arm]
            tried = sorted({each for each in values if isinstance(each, int | float) and not isinstance(each, bool)})
            if len(tried) > 1 and chosen.get(field) in (tried[0], tried[-1]):
                yield Edge(arm, field, tuple(tried), chosen[field] == tried[-1])


def went_beyond(tuning: Tuning) -> bool:
    """Returns True if the grid of an arm was extended, so that a trial has a value outside the arm's grid in
    `spaces`."""
    return any(
        value not in tuning.spaces.get(trial.arm, {}).get(field, ())
        for trial in tuning.shipped
        for field, value in trial.settings.items()
    )


def choices_within_noise(tuning: Tuning) -> Iterator[str]:
    """Yields a phrase for each arm in which other settings are at most two standard errors behind the chosen settings.
    The phrase contains the number of these settings."""
    for arm in tuning.spaces:
        trials = [trial for trial in tuning.shipped if trial.arm == arm and trial.behind is not None]
        close = [trial for trial in trials if (trial.behind or 0.0) <= 2 * (trial.behind_error or 0.0)]
        settings = {name_settings(trial.settings) for trial in close}
        if settings:
            tried = {name_settings(trial.settings) for trial in tuning.shipped if trial.arm == arm}
            yield f"{arm}: {len(settings)} of {len(tried) - 1} other settings"
