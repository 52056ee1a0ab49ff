"""Reserves a directory for one study, and reads and writes the study's manifest. The study's report can be written
again from the manifest."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, JsonValue

from preflab.errors import UserError
from preflab.spec import parse_spec
from preflab.study.launchers.attempts import discard_attempts
from preflab.study.own_evaluators import OwnEvaluators, record_own_evaluators, with_recorded_evaluators
from preflab.study.spec import Study
from preflab.train.directory import RUN_FORMAT, RUN_MANIFEST, STUDY_MANIFEST, clear
from preflab.train.files import remove
from preflab.train.lock import LOCK
from preflab.train.log import RUN_LOG
from preflab.train.ownership import refuse_foreign
from preflab.train.sealed import read_sealed, write_sealed

REPORT_FILES = ("report.html", "report.md", "results.json", "results.csv")
JOB_LOGS = "jobs"
"""The folder for the logs of a cluster's jobs."""
RUN_FILE = "run.json"
STARTED_FILES = (LOCK, RUN_LOG, RUN_FILE)
"""The files that a study adds to the directory of each run that it starts."""


class StudyRecord(NamedTuple):
    """The study that a manifest describes. `command`: the command that runs the study. `failures`: a sentence for each
    run that failed."""

    study: Study
    command: str
    failures: tuple[str, ...]


class StudyManifest(BaseModel):
    """The fields of a study's manifest. `arms` and `pairwise`: the names of the arms and of the pairings in the order
    of the study file. `study` does not keep this order, because the JSON file is sorted by name. `runs`: the
    directories of all runs that the study has planned, relative to the study's directory. `own`: descriptions of the
    evaluators that the user wrote. A report needs these descriptions."""

    format: int
    study: dict[str, JsonValue]
    command: str = ""
    failures: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    pairwise: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    own: OwnEvaluators = OwnEvaluators()


def claim_study(study: Study, directory: Path, runs: Iterable[Path]) -> None:
    """Writes or updates the manifest in `directory`. The manifest marks this directory and the directories in `runs` as
    belonging to the study. Raises `UserError` if `directory` belongs to another study or to a run. Also raises
    `UserError` if `directory` contains a file that a report would overwrite and that no study wrote."""
    refuse_other_study(study, directory)
    if (directory / STUDY_MANIFEST).exists():
        manifest = read_manifest_file(directory)
    else:
        foreign = next((name for name in REPORT_FILES if (directory / name).exists()), None)
        if foreign is not None:
            raise UserError(
                f"{directory / foreign} was not written by a study, and a study would overwrite it. Choose another --output."
            )
        manifest = describe_study(study)
    listed = {*manifest.runs, *(str(run.relative_to(directory)) for run in runs)}
    write_manifest(directory, manifest.model_copy(update={"runs": tuple(sorted(listed))}))


def write_study(study: Study, directory: Path, command: str, failures: Sequence[str] = ()) -> None:
    """Writes the study, its command and its failures into the manifest, because a report needs them. The directory must
    already be reserved by `claim_study`."""
    changes = {"command": command, "failures": tuple(failures), "runs": read_manifest_file(directory).runs}
    write_manifest(directory, describe_study(study).model_copy(update=changes))


def describe_study(study: Study) -> StudyManifest:
    plain = study.model_dump(mode="json")
    arms, pairwise, own = tuple(study.arms), tuple(study.pairwise), record_own_evaluators(study)
    return StudyManifest(format=RUN_FORMAT, study=plain, arms=arms, pairwise=pairwise, own=own)


def write_manifest(directory: Path, manifest: StudyManifest) -> None:
    write_sealed(directory / STUDY_MANIFEST, manifest.model_dump(mode="json"))


def read_manifest_file(directory: Path) -> StudyManifest:
    """Reads a study's manifest. Raises `UserError` if the file is damaged, or if it is not a study's manifest."""
    path = directory / STUDY_MANIFEST
    advice = f"Restore it, choose another --output, or remove {directory} yourself."
    data = read_sealed(path, {}, advice=advice)
    if not isinstance(data.get("study"), dict) or data.get("format") != RUN_FORMAT:
        raise UserError(f"{path} is not the manifest of a study. Choose another --output.")
    return parse_spec(StudyManifest, data, where=str(path))


def read_study(directory: Path) -> StudyRecord:
    """Reads the study that a directory belongs to, so that its report can be written. A stand-in replaces each
    evaluator that the user wrote. The stand-in names the evaluator's measures, but cannot be opened. Raises `UserError`
    if the directory does not belong to a study."""
    path = directory / STUDY_MANIFEST
    if not path.exists():
        raise UserError(f"{directory} does not contain a study. Give the directory that `preflab study` wrote.")
    manifest = read_manifest_file(directory)
    ordered = {
        "arms": in_order(manifest.study.get("arms"), manifest.arms),
        "pairwise": in_order(manifest.study.get("pairwise", {}), manifest.pairwise),
    }
    data = with_recorded_evaluators(manifest.study | ordered, manifest.own)
    study = parse_spec(Study, data, where=str(path))
    return StudyRecord(study, manifest.command, manifest.failures)


def in_order(parts: Any, names: Sequence[str]) -> Any:
    """Returns the dictionary `parts` with its keys in the order of `names`. A manifest is sorted and therefore does not
    keep the order of the study file. Returns any other value of `parts` unchanged."""
    return {name: parts[name] for name in names if name in parts} | parts if isinstance(parts, dict) else parts


def refuse_other_study(study: Study, directory: Path) -> None:
    """Raises `UserError` if the directory belongs to a run, or to a study of another name. The study may have other
    arms, seeds and settings than the study in the directory. Runs with other settings do not count as done (see
    `runner.is_done`)."""
    if (directory / RUN_MANIFEST).exists():
        raise UserError(f"{directory} contains a run, but a study needs a separate directory. Choose another --output.")
    if not (directory / STUDY_MANIFEST).exists():
        return
    name = read_manifest_file(directory).study.get("name")
    if name != study.name:
        raise UserError(
            f"{directory} contains another study, {name!r}. Choose another --output, or replace it with --fresh."
        )


@contextmanager
def withdrawn_unless_begun(directory: Path) -> Generator[None]:
    """Returns a context. If its block raises `UserError` and no run of the study has begun, the context removes the
    study's manifest."""
    try:
        yield
    except UserError:
        path = directory / STUDY_MANIFEST
        if path.exists() and not any(
            (directory / run / RUN_MANIFEST).exists() for run in read_manifest_file(directory).runs
        ):
            remove(path)
        raise


def remove_study(directory: Path, planned: Iterable[Path]) -> None:
    """Removes the study's runs, report and manifest, and no other files. `planned`: the directories of the runs that
    the study will start. Removes the runs that the manifest lists, and the runs in `planned`, because the manifest of
    an older version does not list runs. Raises `UserError`, and removes nothing, if a directory in `planned` contains a
    run but the study has no manifest. Also raises `UserError`, and removes nothing, if the directory of a run contains
    a file that the run did not write."""
    home = directory.resolve()
    places = set(planned)
    if (directory / STUDY_MANIFEST).exists():
        places |= {directory / name for name in read_manifest_file(directory).runs}
    elif any((place / RUN_MANIFEST).exists() for place in places):
        raise UserError(
            f"{directory} contains runs but no {STUDY_MANIFEST}, so --fresh cannot know which files to delete. Choose "
            "another --output, or remove the runs yourself."
        )
    else:
        return
    inside = [place for place in places if place.resolve().is_relative_to(home)]
    for place in inside:
        if (place / RUN_MANIFEST).exists():
            refuse_foreign(place)
    for place in inside:
        discard_attempts(place)
        remove_run(place, home)
    remove(directory / JOB_LOGS)
    for name in (*REPORT_FILES, STUDY_MANIFEST):
        remove(directory / name)


def remove_run(directory: Path, home: Path) -> None:
    """Removes a run, and the files that the study added to the run's directory. Then removes this directory and its
    parents below `home` if they are empty."""
    if (directory / RUN_MANIFEST).exists() or (directory / STARTED_FILES[-1]).exists():
        clear(directory)
        for name in STARTED_FILES:
            remove(directory / name)
    for place in (directory, *directory.parents):
        if place.resolve() == home or not place.is_dir() or any(place.iterdir()):
            return
        place.rmdir()
