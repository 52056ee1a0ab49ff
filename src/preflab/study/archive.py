"""Writes the finished runs of a study into an archive, which is one small file, and copies finished runs from an
archive.

An archive contains the results, the training curves and the test answers of the runs, but no weights. It is small
enough to be committed beside the study's report. A study that copies runs from an archive counts these runs as done.
The study can then continue with more seeds, or on another machine.
"""

from __future__ import annotations

import io
import lzma
import tarfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from preflab.arm.planned import Planned
from preflab.errors import UserError
from preflab.study.directory import read_manifest_file
from preflab.study.runner import is_done
from preflab.train.directory import RESULT, RUN_MANIFEST, STUDY_MANIFEST
from preflab.train.files import naming_failures, new_directory
from preflab.train.finished import AnyResult, altered_files, read_result
from preflab.train.ownership import ANSWERS, METRICS, TIMING

KEPT = (RUN_MANIFEST, RESULT, METRICS, TIMING, ANSWERS)
"""The names of the files that an archive contains for each run. Weights and the samples of the training are left
out."""
LARGEST = 2**30
"""The largest allowed size in bytes of all files in an archive together."""


def export_runs(directory: Path, file: Path) -> int:
    """Writes the finished runs of the study in `directory` into the archive `file`, and makes the folder of the file
    if it does not exist. Returns the number of runs.
    Archives of the same runs are equal byte for byte. Raises `UserError` if the directory has no study, or if no run
    has finished."""
    if not (directory / STUDY_MANIFEST).exists():
        raise UserError(f"{directory} does not contain a study. Give the directory that `preflab study` wrote.")
    names = read_manifest_file(directory).runs
    finished = [name for name in sorted(names) if (directory / name / RESULT).is_file()]
    if not finished:
        raise UserError(f"{directory}: no run has finished, so there is nothing to write. Run the study first.")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for kept in KEPT:  # files with the same name are neighbours, because this compresses better
            for path in (directory / name / kept for name in finished):
                if path.is_file():
                    entry = tarfile.TarInfo(path.relative_to(directory).as_posix())
                    data = path.read_bytes()
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
    with naming_failures(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(lzma.compress(content.getvalue(), preset=9))
    return len(finished)


class Archive:
    """The finished runs in an archive. `taken`: the names of the runs that a study copied from the archive."""

    def __init__(self, file: Path) -> None:
        """Reads an archive. Raises `UserError` if the file is missing, or if it is not an archive of runs."""
        self.file = file
        self.taken: list[str] = []
        self._runs: dict[str, dict[str, bytes]] = {}
        for name, data in _read_files(file):
            place = PurePosixPath(name)
            self._runs.setdefault(str(place.parent), {})[place.name] = data

    def restore(self, planned: Sequence[Planned], home: Path) -> None:
        """Copies the planned runs that the archive contains into the study's directory `home`.

        Leaves out a run whose directory exists, and a run whose settings in the archive differ from the planned
        settings. Also leaves out a run that needs a stage or an arm whose output does not come from the archive. The
        archived result of such a run was made from a different output. Raises `UserError` if a run in the archive is
        damaged.
        """
        waiting = [
            run for run in planned if self._name(run.directory, home) in self._runs and not run.directory.exists()
        ]
        count = -1
        while count != len(waiting):  # repeated, because a run can be listed before the stages that its evaluators need
            count = len(waiting)
            for run in list(waiting):
                if all(self._has_given(need, home) for need in (*run.needs, *run.waits)):
                    waiting.remove(run)
                    name = self._name(run.directory, home)
                    if self._write(run, self._runs[name]):
                        self.taken.append(name)

    def _name(self, directory: Path, home: Path) -> str:
        return directory.relative_to(home).as_posix()

    def _has_given(self, directory: Path, home: Path) -> bool:
        """Returns True if `result.json` in the directory is equal to the archived `result.json` of the same run. The
        run was then copied from this archive, now or earlier."""
        files = self._runs.get(self._name(directory, home), {})
        result = directory / RESULT
        return RESULT in files and result.is_file() and result.read_bytes() == files[RESULT]

    def _write(self, run: Planned, files: dict[str, bytes]) -> bool:
        """Writes the files of a run into the directory of the planned run. Returns False, and writes nothing, if the
        files belong to a different run."""
        try:
            with new_directory(run.directory) as aside:
                for file, data in files.items():
                    (aside / file).write_bytes(data)
                self._check(replace(run, directory=aside), files)
        except _OtherRunError:
            return False
        return True

    def _check(self, run: Planned, files: Collection[str]) -> None:
        """Raises `_OtherRunError` if the files in the run's directory belong to another run, and `UserError` if one of
        these files is damaged."""
        try:
            if not is_done(run):
                raise _OtherRunError
            altered = altered_files(run.directory, read_result(run.directory, AnyResult))
        except UserError as error:  # not passed on, because the message names a temporary directory
            raise self._name_damage(f"{RUN_MANIFEST}` or `{RESULT}", run) from error
        for file in altered:
            if file in files:
                raise self._name_damage(file, run)

    def _name_damage(self, file: str, run: Planned) -> UserError:
        return UserError(f"{self.file}: `{file}` of the run {run.label} is damaged. Export the runs again.")

    def describe(self) -> str:
        """Returns a sentence with the number of runs that the study copied from the archive."""
        rest = len(self._runs) - len(self.taken)
        words = f"{self.file}: {len(self.taken)} of {len(self._runs)} finished runs were taken."
        if not rest:
            return words
        return f"{words} The study already has the other runs, does not need them, or plans them with other settings or stages."


class _OtherRunError(Exception):
    """A run in the archive is not the planned run."""


def _read_files(file: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the path and the content of each file in an archive. Raises `UserError` if the archive cannot be read, is
    too large, or contains a file that does not belong to a run."""
    total = 0
    try:
        with tarfile.open(file, mode="r:xz") as archive:
            for entry in archive:
                place = PurePosixPath(entry.name)
                if not entry.isreg() or place.is_absolute() or ".." in place.parts or place.name not in KEPT:
                    raise UserError(f"{file} is not an archive of runs: it contains {entry.name!r}.")
                total += entry.size
                if total > LARGEST:
                    raise UserError(
                        f"{file} contains more than {LARGEST:,} bytes, the largest size that preflab reads."
                    )
                data = archive.extractfile(entry)
                yield entry.name, data.read() if data else b""
    except FileNotFoundError as error:
        raise UserError(f"There is no file {file}. Write one with `preflab export DIR FILE`.") from error
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError) as error:
        raise UserError(f"{file} cannot be read as an archive of runs: {error}") from error
