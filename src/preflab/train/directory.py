"""Whose a directory is: one manifest, one writer at a time. No torch."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.train.files import read_json, write_json

FORMAT = 1


@contextmanager
def locked(directory: Path, patience: float = 5.0) -> Iterator[None]:
    """The only writer of a directory. Waits a moment for a writer that is just dying; then `UserError`."""
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


OWN = ("manifest.json", "metrics.jsonl", "samples.jsonl", "timing.jsonl", "result.json")
OWN_DIRECTORIES = ("checkpoints", "best", "final", "journal", "tensorboard")


def clear(directory: Path) -> None:
    """Removes what a run wrote, and nothing else."""
    for name in OWN:
        (directory / name).unlink(missing_ok=True)
    for name in OWN_DIRECTORIES:
        shutil.rmtree(directory / name, ignore_errors=True)


def claim(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest, or checks that it is this run's; raises `UserError` naming what differs."""
    path = directory / "manifest.json"
    if not path.exists():
        write_json(path, manifest)
        return
    known = read_json(path)
    mine, theirs = manifest.get("spec", {}), known.get("spec", {})
    if known.get("format") != FORMAT or mine != theirs:
        changed = sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key))
        raise UserError(
            f"{directory} holds another run (it differs in {', '.join(changed) or 'its format'}). "
            "Choose another --output, or start this one with --fresh."
        )
