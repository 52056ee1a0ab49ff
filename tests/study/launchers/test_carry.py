"""A run's directory as bytes: what comes out is what went in, and nothing is written outside the directory."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from preflab.study.launchers.carry import pack_directory, unpack_directory


def test_a_directory_arrives_as_it_left(tmp_path: Path) -> None:
    (tmp_path / "run" / "final").mkdir(parents=True)
    (tmp_path / "run" / "final" / "model.safetensors").write_bytes(bytes(range(256)))
    (tmp_path / "run" / "result.json").write_text("{}")
    unpack_directory(pack_directory(tmp_path / "run", "seed-0/stages/sft"), tmp_path / "elsewhere")
    place = tmp_path / "elsewhere" / "seed-0" / "stages" / "sft"
    files = {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert files == {"final/model.safetensors": bytes(range(256)), "result.json": b"{}"}


def test_nothing_is_written_outside(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(tarfile.OutsideDestinationError):
        unpack_directory(packed.getvalue(), tmp_path / "inside")
