"""Chooses the settings of the tuned arms by their validation scores, with the same limit of trials for every arm."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from preflab.analysis.record import TuningTrial
from preflab.arm.planned import PlannedRun
from preflab.errors import UserError
from preflab.study.plan import with_settings
from preflab.study.spec import Study, Tuning
from preflab.train.finished import read_result


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


def choose_settings(study: Study, trials: Sequence[tuple[str, dict[str, Any], PlannedRun]]) -> list[TuningTrial]:
    """Returns a record of each trial. In each arm, the trials with the best settings are marked as chosen. The best
    settings have the highest mean validation score over the tuning seeds."""
    assert study.tuning is not None
    records: list[TuningTrial] = []
    for name in study.tuning.spaces:
        own = [(settings, run.seed, trial_score(run)) for arm, settings, run in trials if arm == name]
        scores: dict[str, list[float]] = {}
        for settings, _, score in own:
            scores.setdefault(json.dumps(settings, sort_keys=True), []).append(-math.inf if score is None else score)
        best = max(scores, key=lambda key: sum(scores[key]) / len(scores[key]))
        for settings, seed, score in own:
            chosen = json.dumps(settings, sort_keys=True) == best
            records.append(TuningTrial(arm=name, settings=settings, seed=seed, score=score, chosen=chosen))
    return records


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
    result = read_result(run.directory) if run.result_file.exists() else None
    return None if result is None or result["diverged"] else max(result["evaluation"]["validation"].values())


class Edge(NamedTuple):
    """A chosen value that is the smallest or the largest value that was tried. `words`: a phrase that says this."""

    arm: str
    field: str
    words: str


def values_at_edge(tuning: Tuning) -> Iterator[Edge]:
    """Yields each chosen number that is the smallest or the largest number that was tried."""
    for arm, space in tuning.spaces.items():
        settings = next((trial.settings for trial in tuning.shipped if trial.arm == arm and trial.chosen), {})
        for field, values in space.items():
            tried = sorted(
                {float(each) for each in values if isinstance(each, int | float) and not isinstance(each, bool)}
            )
            value = settings.get(field)
            if len(tried) > 1 and value in (tried[0], tried[-1]):
                end = "smallest" if value == tried[0] else "largest"
                words = f"{arm}: {field} = {value:g} is the {end} of {', '.join(f'{each:g}' for each in tried)}"
                yield Edge(arm, field, words)
