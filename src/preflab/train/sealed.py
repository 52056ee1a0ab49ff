"""Writes and reads JSON records with a seal. The seal is a checksum, which shows whether the record was changed.

The seal is the SHA-256 of the file's name and of all fields of the record except the seal. A record that an older
preflab wrote has no seal. This module does not import torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from pydantic import BaseModel

from preflab.errors import UserError
from preflab.train.files import read_json, write_json

SEAL = "seal"
Form = Mapping[str, type | UnionType]
"""Maps the name of each field that a record must have to the type of the field."""


class Stored(BaseModel, frozen=True, strict=True, extra="ignore", allow_inf_nan=False, protected_namespaces=()):
    """The base class of the records in a sealed file, and of their parts. A value of a wrong type is refused and not
    converted. Fields that another version of preflab wrote are ignored."""

    def as_data(self) -> dict[str, Any]:
        """Returns the fields that were given, as plain data for JSON. Leaves out the fields with default values."""
        return self.model_dump(exclude_unset=True)


def write_sealed(path: Path, data: Mapping[str, Any]) -> str:
    """Writes a record with its seal and returns the seal. An old file is replaced by one rename."""
    plain = json.loads(json.dumps(data, allow_nan=False))  # the keys become strings, as in the record that is read back
    seal = make_seal(path.name, plain)
    write_json(path, {**plain, SEAL: seal})
    return seal


def read_sealed(path: Path, form: Form, *, advice: str = "Restore it, or start again with --fresh.") -> dict[str, Any]:
    """Reads a record and returns it without its seal. Raises `UserError` if the record is missing or damaged, or lacks
    a field of `form`. The message ends with `advice`."""
    try:
        data = read_json(path)
    except UserError as error:
        raise UserError(f"{f'{error}'.rstrip('.')}. {advice}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} is damaged: it is not a JSON object. {advice}")
    record: dict[str, Any] = data
    seal = record.pop(SEAL, None)
    if seal is not None and seal != make_seal(path.name, record):
        raise UserError(f"{path} is damaged: its content does not match its seal. {advice}")
    wrong = [name for name, kind in form.items() if name not in record or not isinstance(record[name], kind)]
    if wrong:
        raise UserError(f"{path} is damaged: fields are missing or have a wrong type: {', '.join(wrong)}. {advice}")
    return record


def make_seal(name: str, data: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a file's name and of its record. If a record is copied to a file with another name, the
    record therefore does not match its seal."""
    return hashlib.sha256(f"{name}\n{json.dumps(data, sort_keys=True)}".encode()).hexdigest()
