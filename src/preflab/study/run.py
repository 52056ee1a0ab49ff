"""Runs a complete study: the tuning stage if the study needs it, then the stages, arms and matches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from preflab.analysis.record import TuningTrial
from preflab.arm.planned import Planned
from preflab.study.archive import Archive
from preflab.study.directory import claim_study, remove_study, withdrawn_unless_begun, write_study
from preflab.study.launchers.base import Launcher, LauncherSpec, StudyPlace
from preflab.study.looks import is_settled, looks_of
from preflab.study.plan import planned_extensions, planned_matches, planned_runs, planned_trials
from preflab.study.results.make import study_results
from preflab.study.runner import Failures, run_all
from preflab.study.spec import Study
from preflab.study.tuning import (
    choose_settings,
    extended_settings,
    must_tune,
    refuse_missing_tuning,
    with_chosen_settings,
)
from preflab.study.watch import Watch

RunAll = Callable[[Sequence[Planned]], Failures]
"""A function that executes planned runs and returns the failures."""


def run_missing(
    study: Study,
    directory: Path,
    *,
    command: str = "",
    tune: bool = False,
    fresh: bool = False,
    quiet: bool = False,
    archives: Sequence[Archive] = (),
    launcher: LauncherSpec,
) -> tuple[str, ...]:
    """Runs all runs of a study that are not done yet. Returns a sentence for each run that failed. The caller must have
    locked the directory. `command`: the command line that the report shows for a repetition of the study. `archives`:
    files with finished runs. A run that such a file contains is copied from the file instead of being run. `launcher`:
    where the runs run."""
    from preflab.study.check import check_study  # imports torch, which is not needed to read a report

    refuse_missing_tuning(study, tune=tune)
    check_study(study, directory, fresh=fresh)
    trials = list(planned_trials(study, directory)) if study.tuning is not None else []
    planned: list[Planned] = [*planned_runs(study, directory), *planned_matches(study, directory)]
    places = [run.directory for run in (*(run for _, _, run in trials), *planned)]
    if fresh:
        remove_study(directory, places)
    claim_study(study, directory, places)
    place = StudyPlace(directory, study.memory_gb)
    with withdrawn_unless_begun(directory), launcher.open(place) as opened:
        run = partial(run_watched, directory=directory, launcher=opened, archives=archives, quiet=quiet)
        return run_claimed(study, directory, command, run, tune=tune)


def run_claimed(study: Study, directory: Path, command: str, run: RunAll, *, tune: bool) -> tuple[str, ...]:
    """Runs the tuning stage, the other runs and the matches in a directory that the study has claimed. Returns a
    sentence for each run that failed. `run`: executes planned runs."""
    if study.tuning is not None and must_tune(study.tuning, tune=tune):
        study = with_chosen_settings(study, run_trials(study, directory, run))
    write_study(study, directory, command)  # written before the runs, so that an interrupted study has a report too
    failures: tuple[str, ...] = ()
    for look in looks_of(study):
        part = study.until_seed(look.seeds)
        planned = [*planned_runs(part, directory), *planned_matches(part, directory)]
        failures = tuple(run(planned).values())
        write_study(study, directory, command, failures)
        if failures or look.seeds == study.seeds or is_settled(study_results(study, directory, command=command)):
            break
    return failures


def run_trials(study: Study, directory: Path, run: RunAll) -> list[TuningTrial]:
    """Runs the tuning stage and returns a record of each trial. If the best value of an arm is at the edge of the arm's
    grid, one value beyond this edge is tried too. The grid is extended only once, and only for arms without a failed
    trial. `run`: executes planned runs."""
    trials = list(planned_trials(study, directory))
    failures = run([trial for _, _, trial in trials])
    broken = {arm for arm, _, trial in trials if trial.directory in failures}
    extensions = extended_settings(study, choose_settings(study, trials))
    further = list(planned_extensions(study, directory, (each for each in extensions if each[0] not in broken)))
    claim_study(study, directory, [trial.directory for _, _, trial in further])
    run([trial for _, _, trial in further])
    return choose_settings(study, [*trials, *further])


def run_watched(
    planned: Sequence[Planned], *, directory: Path, launcher: Launcher, archives: Sequence[Archive], quiet: bool
) -> Failures:
    """Copies finished runs from the archives, and executes the planned runs that are not done yet. Shows the progress
    unless `quiet` is True. Returns the failures."""
    for archive in archives:
        archive.restore(planned, directory)
    with closing(Watch(len(planned), quiet=quiet)) as watch:
        return run_all(planned, launcher=launcher, watch=watch)
