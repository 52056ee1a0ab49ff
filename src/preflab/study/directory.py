"""A study's directory: who may write there, and the manifest from which its report can be written again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from preflab.errors import UserError
from preflab.spec import parse_spec
from preflab.study.spec import Study
from preflab.train.directory import RUN_FORMAT
from preflab.train.files import read_json, write_json

STUDY_MANIFEST = "study.json"
REPORT_FILES = ("report.html", "report.md", "results.json", "results.csv")


class StudyRecord(NamedTuple):
    """What a directory's manifest says."""

    study: Study
    command: str
    failures: tuple[str, ...]


def claim_study(study: Study, directory: Path) -> None:
    """Marks a directory as the study's. Raises `UserError` where it holds another study."""
    refuse_other_study(study, directory)
    if not (directory / STUDY_MANIFEST).exists():
        write_study(study, directory, command="")


def write_study(study: Study, directory: Path, command: str, failures: Sequence[str] = ()) -> None:
    """Writes what a report needs in addition to the runs."""
    data = {"format": RUN_FORMAT, "study": study.model_dump(mode="json"), "command": command, "failures": failures}
    write_json(directory / STUDY_MANIFEST, {**data, "arms": list(study.arms)})  # the file itself is sorted by name


def read_study(directory: Path) -> StudyRecord:
    """Raises `UserError` where the directory holds no study."""
    path = directory / STUDY_MANIFEST
    if not path.exists():
        raise UserError(f"{directory} holds no study. Give the directory that `preflab study` wrote.")
    data = read_json(path)
    arms = data["study"]["arms"]
    ordered = {name: arms[name] for name in data.get("arms", arms)}
    study = parse_spec(Study, data["study"] | {"arms": ordered}, where=str(path))
    return StudyRecord(study, data["command"], tuple(data["failures"]))


def refuse_other_study(study: Study, directory: Path) -> None:
    """Raises `UserError` where the directory holds another study. Arms, seeds and settings may change: each run checks its own
    spec."""
    path = directory / STUDY_MANIFEST
    if not path.exists():
        return
    data = read_json(path)
    if not (isinstance(data, dict) and isinstance(data.get("study"), dict) and data.get("format") == RUN_FORMAT):
        raise UserError(f"{path} is not the manifest of a study. Choose another --output, or --fresh.")
    if data["study"].get("name") != study.name:
        raise UserError(
            f"{directory} holds another study, {data['study'].get('name')!r}. Choose another --output, or --fresh."
        )


def remove_study(directory: Path) -> None:
    """Removes what a study wrote, and nothing else."""
    for name in (STUDY_MANIFEST, *REPORT_FILES):
        (directory / name).unlink(missing_ok=True)
    for path in (*directory.glob("seed-*"), directory / "tuning"):
        shutil.rmtree(path, ignore_errors=True)
