"""Packs the directory of a run into bytes, and unpacks it on another machine."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path


def pack_directory(directory: Path, name: str) -> bytes:
    """Returns the files of a directory as an uncompressed tar archive. `name`: the path of the directory in the archive.
    Model weights, which are most of the bytes, do not compress."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(directory, arcname=name)
    return packed.getvalue()


def unpack_directory(packed: bytes, directory: Path) -> None:
    """Writes the files of an archive below a directory. Raises `tarfile.FilterError` if a path in the archive leads out of
    the directory."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(directory, filter="data")
