"""Reads APPS in its official form: one folder for each problem, with one file for each part of the problem."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from preflab.errors import UserError


def list_official_folders(path: Path) -> list[Path]:
    """Lists the problem folders in `path`, or in the split folders of `path`. The list is empty if `path` does not have
    APPS's official form."""
    questions = sorted(path.glob("*/*/question.txt")) or sorted(path.glob("*/question.txt"))
    return [question.parent for question in questions]


def read_official_folder(folder: Path) -> dict[str, Any]:
    """Reads the folder of a problem as a record with the same field names as on the hub."""
    paths = [folder / name for name in ("question.txt", "input_output.json", "solutions.json", "starter_code.py")]
    record = {"problem_id": folder.name, **{path.stem: _read_text_file(path) for path in paths if path.is_file()}}
    meta = folder / "metadata.json"
    if not meta.is_file():
        return record
    try:
        return {**json.loads(_read_text_file(meta)), **record}
    except (TypeError, ValueError) as error:
        raise UserError(f"{meta} does not hold a JSON object: {error}.") from error


def _read_text_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}.") from error
