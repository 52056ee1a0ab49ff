"""JSON records with a seal, which shows whether a record is still as it was written. The seal is the SHA-256 of the file's
name and of all other fields of the record. A record that an older preflab wrote has no seal. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from preflab.errors import UserError
from preflab.train.files import read_json, write_json

SEAL = "seal"
Form = Mapping[str, type | UnionType]
"""The fields that a record must have, and their types."""


def write_sealed(path: Path, data: Mapping[str, Any]) -> str:
    """Replaces a record in one step and returns the new record's seal."""
    plain = json.loads(json.dumps(data, allow_nan=False))  # the keys as they will be read
    seal = make_seal(path.name, plain)
    write_json(path, {**plain, SEAL: seal})
    return seal


def read_sealed(path: Path, form: Form, *, advice: str = "Restore it, or start again with --fresh.") -> dict[str, Any]:
    """Reads a record and returns it without its seal. Raises `UserError`, which ends with `advice`, if the record is missing
    or damaged, or does not have the fields of `form`."""
    try:
        data = read_json(path)
    except UserError as error:
        raise UserError(f"{f'{error}'.rstrip('.')}. {advice}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} is damaged: it is not a record. {advice}")
    record: dict[str, Any] = data
    seal = record.pop(SEAL, None)
    if seal is not None and seal != make_seal(path.name, record):
        raise UserError(f"{path} is damaged: its seal does not hold. {advice}")
    wrong = [name for name, kind in form.items() if name not in record or not isinstance(record[name], kind)]
    if wrong:
        raise UserError(f"{path} is damaged: {', '.join(wrong)} missing or of another form. {advice}")
    return record


def make_seal(name: str, data: Mapping[str, Any]) -> str:
    """The SHA-256 of a file's name and of its record. The seal of a record therefore does not hold in a file of another
    name."""
    return hashlib.sha256(f"{name}\n{json.dumps(data, sort_keys=True)}".encode()).hexdigest()
