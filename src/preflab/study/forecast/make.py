"""Forecasts the runs of a study and their duration on this machine, for `preflab study --plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from preflab.arm.memory import Memory
from preflab.study.check import check_study, make_memory_estimator
from preflab.study.directory import refuse_other_study
from preflab.study.forecast.detectable import Detectable, detectable_claims
from preflab.study.forecast.estimate import Estimate
from preflab.study.launchers.local import usable_cores
from preflab.study.plan import planned_matches, planned_runs, planned_trials
from preflab.study.runner import is_done
from preflab.study.say import Say, keep_silent
from preflab.study.spec import Study
from preflab.study.tuning import must_tune, refuse_missing_tuning

Part = Literal["stage", "arm", "match"]


@dataclass(frozen=True)
class ForecastRow:
    """The forecast of a stage, an arm or a match. `runs`: the number of runs. `done`: the number of runs that are done.
    `seconds`: the expected duration of each run. `memory`: the expected peak memory of a run; None for a match, and
    None if the memory is not known. `requests`: the largest number of requests that each run sends to the server of its
    policy; 0 if the policy is not served."""

    part: Part
    name: str
    method: str
    runs: int
    done: int
    seconds: float
    memory: Memory | None = None
    requests: int = 0


@dataclass(frozen=True)
class Forecast:
    """The forecast of a study. `rows`: the forecasts of the stages, arms and matches. `at_once`: the number of runs
    that share the machine. `seconds`: the expected wall-clock time until all runs are done, without the tuning stage.
    `look_seconds`: for each look, the expected wall-clock time until all runs of the look are done. The key is the
    look's number of seeds. The study may stop at each look. `trials`: the number of trials of the tuning stage.
    `tunes`: whether these trials run before the other runs. `tuning_seconds`: the expected wall-clock time of the
    tuning runs that are not done. `uncounted`: descriptions of work whose time is unknown and not counted.
    `detectable`: the smallest difference that each claim can detect."""

    rows: tuple[ForecastRow, ...]
    at_once: int
    seconds: float
    trials: int = 0
    tunes: bool = False
    tuning_seconds: float = 0.0
    look_seconds: Mapping[int, float] = field(default_factory=dict[int, float])
    uncounted: tuple[str, ...] = ()
    detectable: tuple[Detectable, ...] = ()

    @property
    def runs(self) -> int:
        return sum(row.runs for row in self.rows)


def forecast_study(
    study: Study, directory: Path, *, fresh: bool = False, tune: bool = False, say: Say = keep_silent
) -> Forecast:
    """Times the study's models and its judge on this machine, and multiplies the cost of each run by these times.
    `tune`: whether the tuning stage runs even if the study has tuned values. `say`: called with a line of text before
    each part of the work. Raises `UserError` if a part of the study cannot be opened or lacks something that a run
    needs. Also raises `UserError` if `fresh` is False and the directory belongs to another study, or if `tune` is True
    and the study has no tuning stage."""
    refuse_missing_tuning(study, tune=tune)
    if not fresh:
        refuse_other_study(study, directory)
    planned = list(planned_runs(study, directory))
    say("Plan: opens the data, rewards and models of the runs, to check that the runs can start")
    check_study(study, directory, fresh=fresh)
    at_once = max(1, usable_cores() // study.threads)
    estimate = Estimate.measured(study, [run.spec for run in planned], at_once, say)
    memory, rows = make_memory_estimator(study), list[ForecastRow]()
    left: list[tuple[int, float]] = []  # the seed and the seconds of each run that is not done
    for part, name in dict.fromkeys((run.is_stage, run.name) for run in planned):
        runs = [run for run in planned if (run.is_stage, run.name) == (part, name)]
        requests = estimate.requests(runs[0].spec)
        method = "measured only" if runs[0].spec.method is None else runs[0].spec.method.kind_name
        done, seconds = sum(map(is_done, runs)), estimate.seconds(runs[0])
        kind: Part = "stage" if part else "arm"
        need = memory.try_estimate(runs[0].spec)
        rows.append(ForecastRow(kind, name, method, len(runs), done, seconds, need, requests))
        left += [(run.spec.seed, seconds) for run in runs if not is_done(run)]
    matches = list(planned_matches(study, directory))
    for name in dict.fromkeys(match.name for match in matches):
        runs = [match for match in matches if match.name == name]
        done, seconds = sum(map(is_done, runs)), estimate.match_seconds(runs[0].spec)
        rows.append(ForecastRow("match", name, runs[0].spec.evaluator.kind_name, len(runs), done, seconds))
        left += [(match.spec.seed, seconds) for match in matches if match.name == name and not is_done(match)]

    def seconds_until(seeds: int) -> float:
        return sum(seconds for seed, seconds in left if seed < study.first_seed + seeds) / at_once

    trials = list(planned_trials(study, directory)) if study.tuning else []
    tunes = study.tuning is not None and must_tune(study.tuning, tune=tune)
    to_run = [run for _, _, run in trials if not is_done(run)] if tunes else []
    tuning_seconds = sum(map(estimate.seconds, to_run)) / at_once
    prompts = estimate.sizes["test"].prompts
    problems = min(prompts, study.evaluation.prompts or prompts)
    evaluators = [*study.evaluators.values(), *(each.evaluator for each in study.pairwise.values())]
    return Forecast(
        rows=tuple(rows),
        at_once=at_once,
        seconds=seconds_until(study.seeds),
        look_seconds={look: seconds_until(look) for look in study.seed_looks},
        trials=sum(1 for arm, _, _ in trials if arm),
        tunes=tunes,
        tuning_seconds=tuning_seconds,
        detectable=tuple(detectable_claims(study, None if fresh else directory, problems)),
        uncounted=(
            *dict.fromkeys(each.uncounted for each in evaluators if each.uncounted),
            *(f"the answers of the served policy {row.name}" for row in rows if row.requests),
        ),
    )
