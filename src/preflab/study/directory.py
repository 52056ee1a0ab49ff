"""The directory of a study: who may write in it, and the manifest from which the study's report can be written again."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, JsonValue

from preflab.errors import UserError
from preflab.spec import parse_spec
from preflab.study.own_evaluators import OwnEvaluators, record_own_evaluators, with_recorded_evaluators
from preflab.study.spec import Study
from preflab.train.directory import RUN_FORMAT, RUN_MANIFEST, STUDY_MANIFEST, clear
from preflab.train.files import remove
from preflab.train.sealed import read_sealed, write_sealed

REPORT_FILES = ("report.html", "report.md", "results.json", "results.csv")
STARTED_FILES = ("lock", "run.log", "run.json")
"""The files that a study adds to the directory of a run that it starts."""


class StudyRecord(NamedTuple):
    """The content of the manifest in a study's directory."""

    study: Study
    command: str
    failures: tuple[str, ...]


class StudyManifest(BaseModel):
    """The form of a study's manifest. `arms` and `pairwise`: names in the order of the study file, since the manifest
    itself is sorted by name. `runs`: the directories of all runs that the study has planned, relative to the study's
    directory. `own`: what a report asks of evaluators of the user's own."""

    format: int
    study: dict[str, JsonValue]
    command: str = ""
    failures: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    pairwise: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    own: OwnEvaluators = OwnEvaluators()


def claim_study(study: Study, directory: Path, runs: Iterable[Path]) -> None:
    """Marks a directory, and the directories of the runs, as belonging to the study. Raises `UserError` if the directory
    holds another study, a run, or files that no study wrote and that a report would overwrite."""
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
    """Writes into a directory that the study has claimed what a report needs beside the runs."""
    changes = {"command": command, "failures": tuple(failures), "runs": read_manifest_file(directory).runs}
    write_manifest(directory, describe_study(study).model_copy(update=changes))


def describe_study(study: Study) -> StudyManifest:
    plain = study.model_dump(mode="json")
    arms, pairwise, own = tuple(study.arms), tuple(study.pairwise), record_own_evaluators(study)
    return StudyManifest(format=RUN_FORMAT, study=plain, arms=arms, pairwise=pairwise, own=own)


def write_manifest(directory: Path, manifest: StudyManifest) -> None:
    write_sealed(directory / STUDY_MANIFEST, manifest.model_dump(mode="json"))


def read_manifest_file(directory: Path) -> StudyManifest:
    """Reads a study's manifest. Raises `UserError` if the file is damaged, or if it is not the manifest of a study."""
    path = directory / STUDY_MANIFEST
    advice = f"Restore it, choose another --output, or remove {directory} yourself."
    data = read_sealed(path, {}, advice=advice)
    if not isinstance(data.get("study"), dict) or data.get("format") != RUN_FORMAT:
        raise UserError(f"{path} is not the manifest of a study. Choose another --output.")
    return parse_spec(StudyManifest, data, where=str(path))


def read_study(directory: Path) -> StudyRecord:
    """Reads the study of a directory for its report: evaluators of the user's own are stand-ins, which can be asked what they
    measure. Raises `UserError` if the directory holds no study."""
    path = directory / STUDY_MANIFEST
    if not path.exists():
        raise UserError(f"{directory} holds no study. Give the directory that `preflab study` wrote.")
    manifest = read_manifest_file(directory)
    ordered = {
        "arms": in_order(manifest.study.get("arms"), manifest.arms),
        "pairwise": in_order(manifest.study.get("pairwise", {}), manifest.pairwise),
    }
    data = with_recorded_evaluators(manifest.study | ordered, manifest.own)
    study = parse_spec(Study, data, where=str(path))
    return StudyRecord(study, manifest.command, manifest.failures)


def in_order(parts: Any, names: Sequence[str]) -> Any:
    """Puts parts of a study back into the order of the study file, since a manifest is sorted by name. If `parts` is
    damaged, it stays as it is."""
    return {name: parts[name] for name in names if name in parts} | parts if isinstance(parts, dict) else parts


def refuse_other_study(study: Study, directory: Path) -> None:
    """Raises `UserError` if the directory holds another study, or a run. The study may have other arms, seeds and
    settings than before: each run checks its own spec."""
    if (directory / RUN_MANIFEST).exists():
        raise UserError(f"{directory} holds a run, and a study needs a directory of its own. Choose another --output.")
    if not (directory / STUDY_MANIFEST).exists():
        return
    name = read_manifest_file(directory).study.get("name")
    if name != study.name:
        raise UserError(f"{directory} holds another study, {name!r}. Choose another --output, or --fresh.")


@contextmanager
def withdrawn_unless_begun(directory: Path) -> Generator[None]:
    """Removes a study's manifest again if the block raises `UserError` before any run of the study has begun."""
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
    """Removes the study's runs, its report and its manifest, and nothing else. The runs are those that the manifest lists
    and those in `planned`: the directories where the study will run, which the manifest of an older preflab does not
    list. Raises `UserError` if such a directory holds a run and the study has no manifest."""
    home = directory.resolve()
    places = set(planned)
    if (directory / STUDY_MANIFEST).exists():
        places |= {directory / name for name in read_manifest_file(directory).runs}
    elif any((place / RUN_MANIFEST).exists() for place in places):
        raise UserError(
            f"{directory} holds runs but no {STUDY_MANIFEST}, which says what --fresh may delete. Choose another --output, or "
            "remove them yourself."
        )
    else:
        return
    for place in places:
        if place.resolve().is_relative_to(home):
            remove_run(place, home)
    for name in (*REPORT_FILES, STUDY_MANIFEST):
        remove(directory / name)


def remove_run(directory: Path, home: Path) -> None:
    """Removes a run, and the files that the study added to the run's directory. Then removes the directories that are
    empty now, up to `home`."""
    if (directory / RUN_MANIFEST).exists() or (directory / STARTED_FILES[-1]).exists():
        clear(directory)
        for name in STARTED_FILES:
            remove(directory / name)
    for place in (directory, *directory.parents):
        if place.resolve() == home or not place.is_dir() or any(place.iterdir()):
            return
        place.rmdir()
