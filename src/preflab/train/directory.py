"""Which run owns a directory: one manifest, and one writer at a time. Imports no torch."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.train.files import read_json, write_json
from preflab.train.log import logger

RUN_FORMAT = 1
RUN_MANIFEST = "manifest.json"
RUN_FILES = ("metrics.jsonl", "samples.jsonl", "answers.jsonl", "timing.jsonl", "result.json", "wandb.json")
RUN_DIRECTORIES = ("checkpoints", "best", "final", "journal", "tensorboard")


@contextmanager
def locked(directory: Path, patience: float = 5.0) -> Generator[None]:
    """Makes a directory and holds it as its only writer. Waits a moment for a writer that is just dying. Raises `UserError`
    where the directory cannot be made, and where another process goes on writing it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UserError(f"{directory} cannot be made: {error.strerror}. Choose another --output.") from error
    with (directory / "lock").open("w") as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise UserError(f"Another process is writing {directory}. Wait for it, or stop it.") from error
                time.sleep(0.1)
        yield


def clear(directory: Path) -> None:
    """Removes what a run wrote and nothing else. Without the manifest of a run it removes nothing.

    The manifest goes last, so that it still marks what a crash leaves.
    """
    path = directory / RUN_MANIFEST
    if not path.exists() or not is_manifest(read_json(path)):
        return
    for name in RUN_DIRECTORIES:
        shutil.rmtree(directory / name, ignore_errors=True)
    for name in (*RUN_FILES, RUN_MANIFEST):
        (directory / name).unlink(missing_ok=True)


def holds_work(directory: Path) -> bool:
    """Whether a run has written anything that would be missed: a step, a checkpoint, an answer that was paid for."""
    names = ("metrics.jsonl", *RUN_DIRECTORIES)
    files = (file for name in names for file in ((directory / name), *(directory / name).rglob("*")) if file.is_file())
    return any(file.stat().st_size for file in files)


def is_manifest(data: Any) -> bool:
    """Whether the data of a `manifest.json` are a run's: other programs use that name too."""
    return isinstance(data, dict) and "format" in data and "spec" in data


def claim(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest, or checks that it is this run's; raises `UserError` naming what differs.

    Files of another's that a run would write over are refused too (`UserError`).
    """
    path = directory / RUN_MANIFEST
    known: Any = read_json(path) if path.exists() else None
    if not is_manifest(known):
        names = (RUN_MANIFEST, *RUN_FILES, *RUN_DIRECTORIES)
        foreign = next((name for name in names if (directory / name).exists()), None)
        if foreign is not None:
            raise UserError(
                f"{directory / foreign} was not written by a run, and a run would overwrite it. Choose another --output."
            )
        write_json(path, manifest)
        return
    mine, theirs = manifest.get("spec", {}), known["spec"]
    if known["format"] != RUN_FORMAT or mine != theirs:
        changed = differing_paths(mine, theirs)
        raise UserError(
            f"{directory} holds another run (it differs in {', '.join(changed) or 'its format'}). "
            "Choose another --output, or start this one with --fresh."
        )
    if known.get("versions") != manifest.get("versions"):
        changed = differing_paths(known.get("versions"), manifest.get("versions"))
        logger.warning(
            "%s was begun with other versions of %s: not repeatable bit by bit", directory, ", ".join(changed)
        )


def differing_paths(first: Any, second: Any, prefix: str = "") -> list[str]:
    """The dotted names at which two pieces of plain data differ."""
    if not (isinstance(first, dict) and isinstance(second, dict)):
        return [] if first == second else [prefix.rstrip(".")]
    names = sorted({*first, *second})
    return [name for key in names for name in differing_paths(first.get(key), second.get(key), f"{prefix}{key}.")]


def need_space(directory: Path, size: int) -> None:
    """Raises `UserError` where the disk has no room for `size` bytes, what the run holds already included."""
    held = sum(
        file.stat().st_size for name in RUN_DIRECTORIES for file in (directory / name).rglob("*") if file.is_file()
    )
    free = shutil.disk_usage(directory).free
    if size - held > free:
        raise UserError(
            f"{directory}: the run needs about {(size - held) / 2**30:.2f} GiB for its checkpoints and its model, and "
            f"{free / 2**30:.2f} GiB are free. Make room, or choose another --output."
        )
