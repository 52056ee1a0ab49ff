"""Gives each process that executes a run on a cluster a directory of its own, so that no two processes ever write in the
same directory.

A cluster can start a run again while the first process still writes, for example after it has lost the contact to a
machine. A lock does not help, because not every shared file system keeps locks. Therefore each process creates the
directory `RUN.attempt-N` with the next free number N, and continues a copy of the latest attempt. Creating a directory
succeeds for one process only, on every file system. The highest number is the current attempt. The study reads no other
attempt, and renames the current attempt to the run's directory when it has ended well.

This module does not import torch.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from preflab.errors import UserError
from preflab.train.directory import RESULT, RUN_MANIFEST, clear
from preflab.train.files import remove
from preflab.train.finished import AnyResult, altered_files, read_result
from preflab.train.lock import LOCK
from preflab.train.sealed import read_sealed, write_sealed

ENDING = "ending.json"
"""The record of the exit code of an attempt, in the attempt's directory."""
_MOST_COPIES = 20
"""How often a copy is repeated because the copied run was writing at the same time."""


def attempts_of(directory: Path) -> list[Path]:
    """Returns the directories of all attempts at a run, from the first to the current one. `directory`: the directory
    that the study planned for the run."""
    if not directory.parent.is_dir():
        return []
    form = re.compile(rf"{re.escape(directory.name)}\.attempt-(\d+)")
    numbers = [int(match[1]) for name in os.listdir(directory.parent) if (match := form.fullmatch(name))]
    return [name_attempt(directory, number) for number in sorted(numbers)]


def name_attempt(directory: Path, number: int) -> Path:
    return directory.with_name(f"{directory.name}.attempt-{number}")


def order_file(directory: Path) -> Path:
    """Returns the path of the file that tells a machine of the cluster which run to execute (see `node`)."""
    return directory.with_name(f"{directory.name}.order.json")


def begin_attempt(directory: Path) -> Path:
    """Creates the directory of a new attempt at a run, which becomes the current attempt. Copies the work of the latest
    attempt into it, if there is one."""
    earlier = attempts_of(directory)
    attempt = create_attempt(directory)
    source = latest_work(directory, earlier)
    if source is not None:
        copy_work(source, attempt)
    return attempt


def create_attempt(directory: Path) -> Path:
    """Creates the empty directory of a new attempt at a run."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    while True:
        attempts = attempts_of(directory)
        number = int(attempts[-1].name.rpartition("-")[2]) + 1 if attempts else 1
        with suppress(FileExistsError):  # another process has just created this attempt
            attempt = name_attempt(directory, number)
            attempt.mkdir()
            return attempt


def latest_work(directory: Path, attempts: list[Path]) -> Path | None:
    """Returns the latest of these directories that contains a run, or None if none does."""
    return next((place for place in (*reversed(attempts), directory) if (place / RUN_MANIFEST).is_file()), None)


def copy_work(source: Path, target: Path) -> None:
    """Copies a run's directory to `target`, which must be empty or missing. If the run is still writing, repeats the copy
    until no checkpoint came or went meanwhile. A crash leaves `target` without a run."""
    aside = target.with_name(target.name + ".tmp")
    for _ in range(_MOST_COPIES):
        remove(aside)
        before = name_checkpoints(source)
        try:
            shutil.copytree(source, aside, ignore=_left_out, copy_function=link_or_copy)
        except (FileNotFoundError, shutil.Error):  # a file was removed meanwhile
            continue
        if name_checkpoints(source) == before:
            os.rename(aside, target)
            return
    raise UserError(f"{source} changes too fast to be copied. Stop the process that writes in it, and start again.")


def _left_out(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name in (LOCK, ENDING) or name.endswith(".tmp")]


def name_checkpoints(directory: Path) -> list[str]:
    place = directory / "checkpoints"
    return sorted(os.listdir(place)) if place.is_dir() else []


def link_or_copy(source: str, target: str) -> None:
    """Copies a file. A file of weights becomes a hard link where this is possible, which takes no time and no space. A run
    never changes such a file, but replaces it."""
    if source.endswith(".safetensors"):
        with suppress(OSError):  # the file system has no hard links
            os.link(source, target)
            return
    shutil.copy2(source, target)


def continue_latest(directory: Path) -> None:
    """Makes a copy of the latest attempt the run in `directory`, if there is an attempt. A study that ran on a cluster
    can so go on without the cluster."""
    if latest_work(directory, attempts_of(directory)) not in (None, directory):
        replace_run(directory, begin_attempt(directory))
        discard_attempts(directory)


def write_ending(attempt: Path, code: int) -> None:
    write_sealed(attempt / ENDING, {"code": code})


def read_ending(attempt: Path) -> int | None:
    """Returns the exit code of an attempt, or None if the attempt has not ended."""
    path = attempt / ENDING
    return read_sealed(path, {"code": int})["code"] if path.exists() else None


def publish(attempt: Path, directory: Path) -> None:
    """Makes an attempt that ended well the run in `directory`. An unfinished or damaged run in `directory` is replaced.
    Files of the user in `directory` are kept. If another process has published the run already, only discards the
    attempt."""
    if not is_whole(directory):
        replace_run(directory, attempt)
    discard_attempts(directory)


def replace_run(directory: Path, attempt: Path) -> None:
    """Renames an attempt to `directory`. Removes the run in `directory`, but keeps the user's files there."""
    if directory.exists():
        clear(directory)
        for path in directory.iterdir():
            if not os.path.lexists(attempt / path.name):
                os.rename(path, attempt / path.name)
        remove(directory)
    (attempt / ENDING).unlink(missing_ok=True)
    os.rename(attempt, directory)


def is_whole(directory: Path) -> bool:
    """Returns True if the directory contains a finished run whose files are unchanged."""
    if not (directory / RESULT).exists():
        return False
    return not altered_files(directory, read_result(directory, AnyResult))


def discard_attempts(directory: Path) -> None:
    """Removes all attempts at a run, and its order file."""
    remove(order_file(directory))
    for attempt in attempts_of(directory):
        remove(attempt)
        remove(attempt.with_name(attempt.name + ".tmp"))
