"""A study's directory: who may write there, and the manifest from which its report can be written again."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, JsonValue

from preflab.errors import UserError
from preflab.spec import parse_spec
from preflab.study.spec import Study
from preflab.train.directory import RUN_FORMAT, RUN_MANIFEST, STUDY_MANIFEST, clear
from preflab.train.files import remove
from preflab.train.sealed import read_sealed, write_sealed

REPORT_FILES = ("report.html", "report.md", "results.json", "results.csv")
STARTED_FILES = ("lock", "run.log", "run.json")
"""What a study adds to the directory of a run that it starts."""


class StudyRecord(NamedTuple):
    """What a directory's manifest says."""

    study: Study
    command: str
    failures: tuple[str, ...]


class StudyManifest(BaseModel):
    """The form of a study's manifest. `arms`: their order, since the file itself is sorted by name. `runs`: the directories of
    all runs that the study has planned, relative to its own."""

    format: int
    study: dict[str, JsonValue]
    command: str = ""
    failures: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


def claim_study(study: Study, directory: Path, runs: Iterable[Path]) -> None:
    """Marks a directory as the study's, and the directories of its runs. Raises `UserError` where it holds another study, a
    run, or files of another's that a report would write over."""
    refuse_other_study(study, directory)
    if (directory / STUDY_MANIFEST).exists():
        manifest = read_manifest_file(directory)
    else:
        foreign = next((name for name in REPORT_FILES if (directory / name).exists()), None)
        if foreign is not None:
            raise UserError(
                f"{directory / foreign} was not written by a study, and a study would overwrite it. Choose another --output."
            )
        manifest = manifest_of(study)
    listed = {*manifest.runs, *(str(run.relative_to(directory)) for run in runs)}
    write_manifest(directory, manifest.model_copy(update={"runs": tuple(sorted(listed))}))


def write_study(study: Study, directory: Path, command: str, failures: Sequence[str] = ()) -> None:
    """Writes what a report needs in addition to the runs, in a directory that the study has claimed."""
    changes = {"command": command, "failures": tuple(failures), "runs": read_manifest_file(directory).runs}
    write_manifest(directory, manifest_of(study).model_copy(update=changes))


def manifest_of(study: Study) -> StudyManifest:
    return StudyManifest(format=RUN_FORMAT, study=study.model_dump(mode="json"), arms=tuple(study.arms))


def write_manifest(directory: Path, manifest: StudyManifest) -> None:
    write_sealed(directory / STUDY_MANIFEST, manifest.model_dump(mode="json"))


def read_manifest_file(directory: Path) -> StudyManifest:
    """Raises `UserError` where the manifest is not a study's, or damaged."""
    path = directory / STUDY_MANIFEST
    advice = f"Restore it, choose another --output, or remove {directory} yourself."
    data = read_sealed(path, {}, advice=advice)
    if not isinstance(data.get("study"), dict) or data.get("format") != RUN_FORMAT:
        raise UserError(f"{path} is not the manifest of a study. Choose another --output.")
    return parse_spec(StudyManifest, data, where=str(path))


def read_study(directory: Path) -> StudyRecord:
    """Raises `UserError` where the directory holds no study."""
    path = directory / STUDY_MANIFEST
    if not path.exists():
        raise UserError(f"{directory} holds no study. Give the directory that `preflab study` wrote.")
    manifest = read_manifest_file(directory)
    arms = manifest.study.get("arms")
    if isinstance(arms, dict):
        arms = {name: arms[name] for name in manifest.arms if name in arms} | arms
    study = parse_spec(Study, manifest.study | {"arms": arms}, where=str(path))
    return StudyRecord(study, manifest.command, manifest.failures)


def refuse_other_study(study: Study, directory: Path) -> None:
    """Raises `UserError` where the directory holds another study, or a run. Arms, seeds and settings may change: each run
    checks its own spec."""
    if (directory / RUN_MANIFEST).exists():
        raise UserError(f"{directory} holds a run, and a study needs a directory of its own. Choose another --output.")
    if not (directory / STUDY_MANIFEST).exists():
        return
    name = read_manifest_file(directory).study.get("name")
    if name != study.name:
        raise UserError(f"{directory} holds another study, {name!r}. Choose another --output, or --fresh.")


@contextmanager
def withdrawn_when_refused(directory: Path) -> Generator[None]:
    """Takes a study's manifest back where the block raises `UserError` before any of its runs has done anything."""
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
    """Removes the runs that the study's manifest lists, its report and the manifest, and nothing else. `planned`: where the
    study is to run, which an older preflab's manifest does not list. Raises `UserError` where there are such runs and no
    manifest."""
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
    """Removes a run, what the study added to its directory, and the directories that are empty then, up to `home`."""
    if (directory / RUN_MANIFEST).exists() or (directory / STARTED_FILES[-1]).exists():
        clear(directory)
        for name in STARTED_FILES:
            remove(directory / name)
    for place in (directory, *directory.parents):
        if place.resolve() == home or not place.is_dir() or any(place.iterdir()):
            return
        place.rmdir()
