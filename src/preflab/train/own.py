"""Tells the files that a run wrote in its folders from the user's own. Imports no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from preflab.errors import UserError
from preflab.train.sealed import read_sealed

RESULT = "result.json"
CHECKPOINT = r"step-\d{8,}(\.old)?(\.tmp)?"
WRITTEN = {
    "checkpoints": rf"{CHECKPOINT}/(tensors\.safetensors|(values|checksums)\.json)(\.tmp)?",
    "best": r"weights\.safetensors",
    "journal": r".+\.json(\.tmp)?",
    "tensorboard": r"events\.out\.tfevents\..+",
}
"""Maps the folders of a run to the form of the paths in them. The files in `final/` are listed in `result.json`."""


def foreign_files(directory: Path) -> list[Path]:
    """Returns the files in the folders of a run that the run did not write. All files in `final/` count as the run's
    own if the run has no result yet."""
    paths = [path for name in (*WRITTEN, "final") for path in files_within(directory / name)]
    listed = listed_files(directory)
    return [path for path in paths if not is_own(path.relative_to(directory).as_posix(), listed)]


def is_own(name: str, listed: Iterable[str] | None) -> bool:
    """Returns True if a run writes files of this name. `listed`: the files that the run's result lists, if any."""
    folder, _, rest = name.partition("/")
    if folder == "final":
        return listed is None or name in listed
    return re.fullmatch(WRITTEN[folder], rest) is not None


def listed_files(directory: Path) -> Iterable[str] | None:
    """Returns the files that the result of a run lists, or None if there is no such list."""
    if not (directory / RESULT).is_file():
        return None
    try:
        files = read_sealed(directory / RESULT, {}).get("files")
    except UserError:  # a run with a damaged result may be replaced too
        return None
    return files if isinstance(files, dict) else None


def files_within(folder: Path) -> list[Path]:
    """Returns all files and links below a folder, sorted. Follows no link."""
    if folder.is_symlink():
        return []
    return sorted(Path(place) / name for place, _, names in os.walk(folder) for name in names)


def refuse_foreign(directory: Path) -> None:
    """Raises `UserError` if a folder of the run holds a file that the run did not write."""
    foreign = foreign_files(directory)
    if foreign:
        raise UserError(
            f"{foreign[0]} was not written by a run, and would be deleted with the run in {directory}. Move this file "
            "to another place, or choose another --output."
        )


def remove_own(directory: Path, folder: str) -> None:
    """Removes the files that a run wrote in one of its folders, and the folders that are then empty. Other files
    stay, and so does a link in the place of the folder."""
    if (directory / folder).is_symlink():
        return
    for path in files_within(directory / folder):
        if is_own(path.relative_to(directory).as_posix(), None):
            path.unlink(missing_ok=True)
    for place, _, _ in os.walk(directory / folder, topdown=False):
        if not any(Path(place).iterdir()):
            Path(place).rmdir()
