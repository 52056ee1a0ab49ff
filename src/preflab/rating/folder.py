"""The folder of a rating: the pairs, and a file of events for each rater.

Events are only appended to a file. Each event is on the disk before the page shows the next pair. A label that the page
has shown as saved therefore survives a kill or a power cut. If a kill left an incomplete last line, the line is
dropped.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import unicodedata
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

import pydantic

from preflab.errors import UserError
from preflab.paths import sync
from preflab.plain import parse_json
from preflab.rating.events import Event, describe_fault, list_labels, replay
from preflab.rating.pairs import Label, RatedPair, check_pairs, digest_pairs, read_pairs, write_pair
from preflab.text import brief, visible

_PAIRS, _LABELS, _LOCK = "pairs.jsonl", "labels", "rating.lock"
_LONGEST_NAME = 200
"""The largest number of characters of a rater's name after it is encoded as a file name."""


def keep_pairs(pairs: Sequence[RatedPair], folder: Path) -> None:
    """Writes the pairs into the folder. Raises `UserError` if the folder already contains other pairs, because the
    folder's labels belong to the other pairs."""
    check_pairs(pairs, "The pairs cannot be rated")
    path = folder / _PAIRS
    if path.exists():
        if digest_pairs(read_pairs(path)) != digest_pairs(pairs):
            raise UserError(
                f"{folder} contains the rating of other pairs. Name another folder, or give the same pairs as before."
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(write_pair(pair), ensure_ascii=False) + "\n" for pair in pairs)
        sync(part)
        part.replace(path)
        sync(folder)
    except OSError as error:
        raise UserError(f"The pairs cannot be written into {folder}: {error.strerror}.") from error


def kept_pairs(folder: Path) -> list[RatedPair]:
    """Returns the pairs in a folder. Raises `UserError` if the folder contains no pairs."""
    if not (folder / _PAIRS).exists():
        raise UserError(
            f"{folder} contains no rating: the file {_PAIRS} is missing. Name the folder of a rating, or begin "
            "a rating with a file of pairs."
        )
    return read_pairs(folder / _PAIRS)


def read_labels(folder: Path) -> list[Label]:
    """Returns the labels of all raters. Raises `UserError` for a damaged file. The error names the file and the
    line."""
    labels: list[Label] = []
    for path in sorted((folder / _LABELS).glob("*.jsonl")):
        labels += list_labels(read_events(path), unquote(path.stem))
    return labels


def read_events(path: Path) -> list[Event]:
    """Returns the events of a file. Leaves out an incomplete last line, which a kill can leave. Raises `UserError` if a
    line is damaged, or if an event cannot follow the events before it. The error names the file and the line."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    lines = whole.split(b"\n") if whole else []
    events = [_read_event(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]
    _, fault = replay(events)
    if fault:
        raise UserError(f"{path}: {fault}. Restore the file as preflab wrote it.")
    return events


def clean_name(name: str) -> str:
    """Returns a rater's name without surplus spaces. Raises `UserError` if the name is empty, is too long, or contains
    an invisible character."""
    clean = " ".join(unicodedata.normalize("NFC", name).split())
    if not clean:
        raise UserError("The rater's name is empty. Give a name.")
    if visible(clean) != clean:
        raise UserError(
            f"The rater's name {brief(name)} contains a character that cannot be seen. Remove the character."
        )
    if len(_file_stem(clean)) > _LONGEST_NAME:
        raise UserError(f"The rater's name {brief(name)} is too long. Give a shorter name.")
    return clean


def events_path(folder: Path, rater: str) -> Path:
    """Returns the path of a rater's events. Every character except letters, digits, `_` and `-` is written as its code,
    so that the path is inside the folder for every name."""
    return folder / _LABELS / f"{_file_stem(rater)}.jsonl"


def _file_stem(rater: str) -> str:
    return quote(rater, safe="").replace(".", "%2E").replace("~", "%7E")


@contextmanager
def open_store(folder: Path) -> Generator[RatingStore]:
    """Opens the folder for writing. Raises `UserError` if another process has opened the folder for writing, or if the
    file of pairs is damaged."""
    pairs = kept_pairs(folder)
    (folder / _LABELS).mkdir(exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"Another process is rating in {folder}. End that other process, or name another folder."
            ) from error
        yield RatingStore(folder, pairs)


class RatingStore:
    """An open folder. Only this process can write into the folder while it is open."""

    def __init__(self, folder: Path, pairs: Sequence[RatedPair]) -> None:
        self.folder = folder
        self.pairs = list(pairs)
        self.digest = digest_pairs(pairs)
        self._known = {pair.id for pair in pairs}
        self._events: dict[str, list[Event]] = {}

    def events(self, rater: str) -> list[Event]:
        """Returns the events of the rater so far."""
        if rater not in self._events:
            self._events[rater] = read_events(events_path(self.folder, rater))
        return self._events[rater]

    def add(self, rater: str, events: Sequence[Event]) -> None:
        """Appends events to the rater's file, and returns when they are on the disk. Raises `UserError`, and writes
        nothing, if an event cannot follow the events before it, or if an event names a pair that is not in the
        folder."""
        earlier = self.events(rater)
        for event in events:
            if event.pair not in self._known:
                raise UserError(f"The pair {brief(event.pair)} is not among the pairs of {self.folder}.")
        _, fault = replay([*earlier, *events])
        if fault:
            raise UserError(f"The labels of {rater} cannot be saved: {fault}.")
        lines = "".join(event.model_dump_json() + "\n" for event in events)
        append_durably(events_path(self.folder, rater), lines.encode())
        earlier += events


def append_durably(path: Path, lines: bytes) -> None:
    """Appends lines to a file, and returns when they are on the disk. First removes an incomplete last line, which a
    kill can leave. If the lines cannot be written, for example to a full disk, the file keeps its earlier lines."""
    new = not path.exists()
    with path.open("ab+", buffering=0) as file:
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        try:
            if file.write(lines) < len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(whole)
            raise
    if new:
        sync(path.parent)


def _read_event(line: bytes, where: str) -> Event:
    try:
        return Event.model_validate(parse_json(line, where))
    except pydantic.ValidationError as error:
        raise UserError(f"{where}: {describe_fault(error)}. Restore the file as preflab wrote it.") from error
