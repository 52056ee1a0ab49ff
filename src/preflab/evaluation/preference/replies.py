"""Keeps a judge's replies on the disk. A command that is killed and repeated therefore does not ask the same
question twice. Does not import torch.

A cache file has one line of JSON for each reply. Lines are only appended. Each line has a checksum. A damaged line,
such as the incomplete line of a killed process, is ignored, and its question is asked again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.paths import cache_directory, user_path
from preflab.train.files import refuse_special


@dataclass(frozen=True)
class ModelReply:
    """A reply of a model. `cut`: whether the reply reached the token limit before its end. `tokens_in`, `tokens_out`:
    the numbers of tokens in the request and in the reply, as the endpoint reports them; 0 if the endpoint does not
    report them."""

    text: str
    cut: bool = False
    tokens_in: int = 0
    tokens_out: int = 0


class ReplyCache:
    """The replies in a cache file, by the key of their request (see `make_key`). `damaged`: the number of lines that
    could not be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0
        self.replies: dict[str, ModelReply] = {}
        refuse_special(path)
        try:
            lines = path.read_bytes().splitlines() if path.exists() else []
        except OSError as error:
            raise UserError(
                f"The cache {path} cannot be read: {error.strerror}. Name another directory with --cache."
            ) from error
        for line in filter(None, lines):
            entry = _read_line(line)
            if entry is None:
                self.damaged += 1
            else:
                self.replies[entry[0]] = entry[1]

    def get(self, key: str) -> ModelReply | None:
        return self.replies.get(key)

    def add(self, key: str, reply: ModelReply) -> None:
        """Writes a reply to the disk, and then adds it to `replies`. Several processes may write to the same file."""
        entry = {"key": key, **asdict(reply)}
        line = json.dumps({"entry": entry, "sha256": _digest(entry)}).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":  # the last line is incomplete, because a process was killed
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.replies[key] = reply


def open_cache(directory: str, model: Any) -> ReplyCache:
    """Returns the cache of a model's replies. `directory`: the directory of the cache; '' for preflab's own directory.
    `model`: JSON data that distinguish this model from other models."""
    folder = user_path(directory) if directory else cache_directory() / "replies"
    return ReplyCache(folder / f"{make_key(model)[:16]}.jsonl")


def make_key(content: Any) -> str:
    """Returns the key of a request: the SHA-256 of everything that the reply depends on."""
    return _digest(content)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read_line(line: bytes) -> tuple[str, ModelReply] | None:
    try:
        data = json.loads(line)
        entry = dict(data["entry"])
        if data["sha256"] != _digest(entry):
            return None
        return str(entry.pop("key")), ModelReply(**entry)
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
