"""Reads the data set APPS in its official form. Each problem is a folder, and each part of the problem is a file in
this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from preflab.errors import UserError


def list_official_folders(path: Path) -> list[Path]:
    """Returns the folders of the problems in `path`. If `path` contains one folder for each split, returns the problems
    of all splits. The list is empty if `path` does not have the official form of APPS."""
    questions = sorted(path.glob("*/*/question.txt")) or sorted(path.glob("*/question.txt"))
    return [question.parent for question in questions]


def read_official_folder(folder: Path) -> dict[str, Any]:
    """Returns the problem in a folder as a record. The record has the field names of APPS on the Hugging Face hub."""
    paths = [folder / name for name in ("question.txt", "input_output.json", "solutions.json", "starter_code.py")]
    record = {"problem_id": folder.name, **{path.stem: _read_text_file(path) for path in paths if path.is_file()}}
    meta = folder / "metadata.json"
    if not meta.is_file():
        return record
    try:
        return {**json.loads(_read_text_file(meta)), **record}
    except (TypeError, ValueError) as error:
        raise UserError(f"{meta} does not contain a JSON object: {error}.") from error


def _read_text_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}.") from error
