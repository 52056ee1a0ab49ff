"""Plans the runs of a study: its stages, arms and matches under each seed, and the trials of the tuning stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

from preflab.arm.match import Match, match_directory
from preflab.arm.planned import PlannedMatch, PlannedRun
from preflab.arm.spec import STAGES, Arm, Job, RunSettings
from preflab.errors import UserError, nearest
from preflab.evaluation.pairwise import DATA_CHOSEN
from preflab.spec import parse_spec
from preflab.study.spec import Contestant, Study, all_stages_needed, measuring_stages

JOB_FIELDS = ("method", "policy", "endpoint", "init", "preferences", "reward", "cost", "plateau")
"""The fields of a run's spec that are copied from the stage or arm in the study file, and not from the study's
settings."""


def planned_runs(study: Study, directory: Path) -> Iterator[PlannedRun]:
    """Yields the runs of the study's stages and arms, seed by seed. Each run comes after the runs that it needs."""
    for seed in study.seed_numbers:
        home = directory / f"seed-{seed}"
        yield from stage_runs(study, study.arms.values(), seed, home)
        for name, arm in study.arms.items():
            yield plan_run(study, name, arm, seed, home, measure="test")


def planned_matches(study: Study, directory: Path) -> Iterator[PlannedMatch]:
    """Yields the matches between the study's arms, seed by seed. Each match needs the runs of its two arms."""
    settings: dict[str, Any] = {"testbed": study.testbed, "threads": study.threads, "device": study.device}
    for seed in study.seed_numbers:
        home = directory / f"seed-{seed}"
        for name, pairing in study.pairwise.items():
            waits = tuple(home / STAGES / stage for stage in measuring_stages(study, [pairing.evaluator]))
            for first, second in pairing.pairs_among(study.arms):
                label = f"{name}: {first} against {second}"
                spec = Match(name=label, first=first, second=second, evaluator=pairing.evaluator, seed=seed, **settings)
                place = match_directory(home, name, first, second)
                needs = tuple(home / arm for arm in (first, second) if arm != DATA_CHOSEN)
                yield PlannedMatch(spec=spec, directory=place, needs=needs, waits=waits)


def planned_trials(study: Study, directory: Path) -> Iterator[tuple[str, dict[str, Any], PlannedRun]]:
    """Yields every run of the tuning stage as (arm, settings, run). For each tuning seed, the runs of the stages come
    before the trials. A run of a stage has '' in place of the arm and {} in place of the settings."""
    assert study.tuning is not None
    for seed in study.tuning.seeds:
        home = directory / "tuning" / f"seed-{seed}"
        for run in stage_runs(study, (study.arms[name] for name in study.tuning.spaces), seed, home):
            yield "", {}, run
        for name, space in study.tuning.spaces.items():
            for number, settings in enumerate(grid_points(space, study.tuning.trials)):
                yield name, settings, plan_trial(study, name, f"{name}.{number}", settings, seed, home)


def planned_extensions(
    study: Study, directory: Path, extensions: Iterable[tuple[str, dict[str, Any]]]
) -> Iterator[tuple[str, dict[str, Any], PlannedRun]]:
    """Yields the trials that extend the grids of the tuning stage (see `extended_settings`), each as (arm, settings,
    run), under each tuning seed. `extensions`: the arm and the settings of each of these trials. The name of a trial's
    directory contains the values of the settings."""
    assert study.tuning is not None
    for arm, settings in extensions:
        values = "-".join(f"{value:g}" if isinstance(value, float) else str(value) for value in settings.values())
        for seed in study.tuning.seeds:
            home = directory / "tuning" / f"seed-{seed}"
            yield arm, settings, plan_trial(study, arm, f"{arm}.{values}", settings, seed, home)


def plan_trial(study: Study, arm: str, name: str, settings: Mapping[str, Any], seed: int, home: Path) -> PlannedRun:
    """Returns the planned run of one trial, which is measured on the validation split."""
    job = with_settings(study.arms[arm], settings, where=f"tuning.spaces.{arm}")
    return plan_run(study, name, job, seed, home, measure="validation")


def stage_runs(study: Study, arms: Iterable[Contestant], seed: int, home: Path) -> Iterator[PlannedRun]:
    """Yields the runs of the stages that these arms and the evaluators need, in the order of the study file."""
    evaluators = [*study.evaluators.values(), *(pairing.evaluator for pairing in study.pairwise.values())]
    used = {stage for arm in arms for stage in all_stages_needed(study, arm)} | {*measuring_stages(study, evaluators)}
    for name, stage in study.stages.items():
        if name in used:
            yield plan_run(study, name, stage, seed, home, measure="none")


def plan_run(
    study: Study, name: str, job: Job, seed: int, home: Path, *, measure: Literal["test", "validation", "none"]
) -> PlannedRun:
    """Returns the planned run of one stage or arm under one seed."""
    is_arm = measure != "none"
    makes_policy = job.method is not None and job.method.product == "policy"
    measured_by = measuring_stages(study, study.evaluators.values())
    is_measured = is_arm or (makes_policy and name not in measured_by)
    main = study.main_evaluator if is_measured else ""
    arm = Arm(
        name=name,
        seed=seed,
        measure=measure,
        budget=study.budget if is_arm else None,
        evaluators=study.evaluators if is_measured else {},
        main_evaluator="" if main == next(iter(study.evaluators)) else main,
        testbed=job.testbed or study.testbed,
        model=job.model or study.model,
        **{field: dict(job)[field] for field in JOB_FIELDS},
        **{field: dict(study)[field] for field in RunSettings.model_fields},
    )
    return PlannedRun(
        spec=arm,
        directory=home / name if is_arm else home / STAGES / name,
        needs=tuple(home / STAGES / stage for stage in all_stages_needed(study, job)),
        waits=tuple(home / STAGES / stage for stage in measured_by) if is_measured else (),
    )


def grid_points(space: Mapping[str, tuple[JsonValue, ...]], count: int) -> list[dict[str, JsonValue]]:
    """Returns at most `count` combinations of the values in `space`, each as a dictionary of settings. If there are
    more combinations, the returned combinations are spread evenly over the list of all combinations."""
    grid: list[dict[str, JsonValue]] = [{}]
    for field, values in space.items():
        grid = [{**point, field: value} for point in grid for value in values]
    return grid if len(grid) <= count else [grid[i * len(grid) // count] for i in range(count)]


def with_settings(job: Job, settings: Mapping[str, JsonValue], *, where: str) -> Any:
    """Returns a copy of `job`, which is a stage or an arm. In the copy, `settings` replace fields of the method. The
    name of a nested field has a dot, such as `optim.beta1`. Raises `UserError` for a field that the method does not
    have."""
    if job.method is None:
        raise UserError(f"{where}: the arm has no method and therefore no settings. Remove the arm from `tuning`.")
    data: dict[str, Any] = job.method.model_dump()
    for field, value in settings.items():
        *parents, leaf = field.split(".")
        node = data
        for parent in parents:
            node = node.get(parent, {})
        if leaf not in node:
            raise UserError(f"{where}: the method has no field {field!r}.{nearest(leaf, node)}")
        node[leaf] = value
    return job.model_copy(update={"method": parse_spec(type(job.method), data, where=where)})
