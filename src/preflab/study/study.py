"""A study from beginning to end: tuning where asked, stages and arms, statistics, report."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from preflab.errors import UserError
from preflab.report import print_summary, read_results, write_report
from preflab.report.text import counted
from preflab.spec import parse_spec
from preflab.study.estimate import Estimate
from preflab.study.launch import preload
from preflab.study.results import results
from preflab.study.runner import Outcome, cores_here, is_done, run_tasks
from preflab.study.spec import (
    PAPER,
    SMOKE,
    Study,
    Task,
    Trial,
    load_study,
    narrowed,
    study_data,
    tasks,
    trials,
    with_settings,
)
from preflab.study.watch import Watch
from preflab.train.directory import FORMAT, locked
from preflab.train.files import read_json, write_json

MANIFEST = "study.json"


def start_study(options: argparse.Namespace, command: str) -> int:
    """What `preflab study` does: plans or runs the study that the options name; returns the exit code."""
    study = load_study(options.study, options.size or default_size(options.study))
    for name in ("data", "public_first"):
        if getattr(options, name) is not None:
            study = study.with_testbed(**{name: getattr(options, name)})
    if options.model is not None:
        study = study.with_model(options.model)
    study = narrowed(study, options.arms, options.seeds)
    output = options.output or Path("runs") / study.name
    if options.plan:
        if not options.fresh:
            refuse_other(study, output)
        print(describe_plan(study, output))
        return 0
    return run_study(
        study,
        output,
        command=command,
        tune=options.tune,
        fresh=options.fresh,
        samples=not options.no_samples,
        quiet=options.quiet,
    )


def default_size(name: str) -> str:
    """`paper` where the study has such a size and torch sees a GPU, else `smoke`."""
    found = study_data(name)
    if not isinstance(found, dict) or PAPER not in (found.get("sizes") or {}):
        return SMOKE
    from preflab.arm.execute import device

    return PAPER if device("auto") == "cuda" else SMOKE


def run_study(
    study: Study,
    directory: Path,
    *,
    command: str = "",
    tune: bool = False,
    fresh: bool = False,
    samples: bool = True,
    quiet: bool = False,
) -> int:
    """Runs what is not done yet and writes the report; returns the exit code (1 where an arm failed)."""
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory):
        if fresh:
            forget(directory)
        claim_study(study, directory)
        if study.tuning is not None and (tune or not study.tuning.shipped):
            study = tuned(study, directory, quiet=quiet)
        write_manifest(study, directory, command)  # before the arms: a study that is cut off can be reported
        outcome = run_all(list(tasks(study, directory)), study, quiet=quiet)
        failures = list(outcome.failures.values())
        write_manifest(study, directory, command, failures)
        page = write_reports(directory, samples=samples)
    print_summary(read_results(directory / "results.json"), Console())
    print(f"Report: {page}")
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


def run_all(found: Sequence[Task], study: Study, *, quiet: bool) -> Outcome:
    watch = Watch(len(found), quiet=quiet)
    preload()
    try:
        return run_tasks(found, memory_gb=study.memory_gb, watch=watch)
    finally:
        watch.close()


def tuned(study: Study, directory: Path, *, quiet: bool) -> Study:
    """Runs the tuning stage; every tuned arm takes its best trial's settings. The trials go into the study."""
    assert study.tuning is not None
    found = list(trials(study, directory))
    run_all([task for _, _, task in found], study, quiet=quiet)
    shipped: list[Trial] = []
    for name in study.tuning.spaces:
        tried = [(settings, task, trial_score(task)) for arm, settings, task in found if arm == name]
        totals: dict[str, list[float]] = {}
        for settings, _, score in tried:
            totals.setdefault(json.dumps(settings, sort_keys=True), []).append(-math.inf if score is None else score)
        best = max(totals, key=lambda key: sum(totals[key]) / len(totals[key]))
        for settings, task, score in tried:
            chosen = json.dumps(settings, sort_keys=True) == best
            shipped.append(Trial(arm=name, settings=settings, seed=task.seed, score=score, chosen=chosen))
    return with_trials(study, shipped)


def with_trials(study: Study, found: Sequence[Trial]) -> Study:
    """The study with its tuned arms' settings replaced by those of the chosen trials."""
    assert study.tuning is not None
    chosen = {trial.arm: trial.settings for trial in found if trial.chosen}
    arms = {
        name: with_settings(arm, chosen[name], where=f"tuning.{name}") if name in chosen else arm
        for name, arm in study.arms.items()
    }
    tuning = study.tuning.model_copy(update={"shipped": tuple(found)})
    return study.model_copy(update={"arms": arms, "tuning": tuning})


def trial_score(task: Task) -> float | None:
    """A trial's validation score at its best temperature; None where it diverged or failed."""
    path = task.directory / "result.json"
    if not path.exists() or read_json(path)["diverged"]:
        return None
    return max(read_json(path)["evaluation"]["validation"].values())


def claim_study(study: Study, directory: Path) -> None:
    """Takes a directory for the study, unless `refuse_other` does."""
    refuse_other(study, directory)
    if not (directory / MANIFEST).exists():
        write_manifest(study, directory, command="")


def write_manifest(study: Study, directory: Path, command: str, failures: Sequence[str] = ()) -> None:
    """What `write_reports` needs beside the runs."""
    data = {"format": FORMAT, "study": study.model_dump(mode="json"), "command": command, "failures": list(failures)}
    write_json(directory / MANIFEST, {**data, "arms": list(study.arms)})  # the file itself is sorted by name


def refuse_other(study: Study, directory: Path) -> None:
    """Refuses a directory of another study. Arms, seeds and settings may grow: each run guards its own spec."""
    path = directory / MANIFEST
    if not path.exists():
        return
    known = read_json(path)
    if not (isinstance(known, dict) and isinstance(known.get("study"), dict) and known.get("format") == FORMAT):
        raise UserError(f"{path} is no manifest of a study. Choose another --output, or --fresh.")
    if known["study"].get("name") != study.name:
        raise UserError(
            f"{directory} holds another study, {known['study'].get('name')!r}. Choose another --output, or --fresh."
        )


def forget(directory: Path) -> None:
    """Removes what a study wrote, and nothing else."""
    for name in (MANIFEST, "report.html", "report.md", "results.json", "results.csv"):
        (directory / name).unlink(missing_ok=True)
    for path in (*directory.glob("seed-*"), directory / "tuning"):
        shutil.rmtree(path, ignore_errors=True)


def write_reports(directory: Path, *, samples: bool) -> Path:
    """The report of what has finished so far; raises `UserError` where the directory holds no study."""
    if not (directory / MANIFEST).exists():
        raise UserError(f"{directory} holds no study. Give the directory that `preflab study` wrote.")
    data = read_json(directory / MANIFEST)
    arms = data["study"]["arms"]
    ordered = {name: arms[name] for name in data.get("arms", arms)}
    study = parse_spec(Study, data["study"] | {"arms": ordered}, where=str(directory / MANIFEST))
    found = results(study, directory, command=data["command"], notes=data["failures"])
    return write_report(found, directory, samples=samples)


def describe_plan(study: Study, directory: Path) -> str:
    """The stages and arms of a study and how long they should take on this machine."""
    found = list(tasks(study, directory))
    at_once = max(1, cores_here() // study.threads)
    estimate = Estimate.measured(study, [task.arm for task in found], at_once)
    seconds = [estimate.seconds(task) for task in found]
    lines = [f"{study.name}: {study.question}", ""]
    groups: dict[tuple[str, str], list[tuple[Task, float]]] = {}
    for task, cost in zip(found, seconds, strict=True):
        groups.setdefault(("stage" if task.arm.measure == "none" else "arm", task.name), []).append((task, cost))
    for (part, name), members in groups.items():
        method = members[0][0].arm.method
        kind = type(method).model_fields["kind"].default if method is not None else "measured only"
        done = sum(is_done(task) for task, _ in members)
        each = members[0][1] / 60
        lines.append(
            f"  {part:<6} {name:<12} {kind:<14} {counted(len(members), 'seed')}, {done} done, about {each:.1f} min each"
        )
    left = sum(cost for task, cost in zip(found, seconds, strict=True) if not is_done(task))
    lines += ["", f"  {len(found)} runs, {at_once} at a time: about {left / at_once / 3600:.2f} hours on this machine."]
    if study.tuning is not None:
        tried = list(trials(study, directory))
        count = sum(1 for arm, _, _ in tried if arm)
        hours = sum(estimate.seconds(task) for _, _, task in tried if not is_done(task)) / at_once / 3600
        when = "shipped with the study" if study.tuning.shipped else f"run first, about {hours:.2f} hours more"
        lines.append(f"  Tuning: {count} trials, {when}.")
    return "\n".join(lines)
