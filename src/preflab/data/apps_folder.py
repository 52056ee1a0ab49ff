"""The official form of APPS: a folder for each problem, with a file for each of its parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from preflab.errors import UserError


def list_official_folders(path: Path) -> list[Path]:
    """The problems' folders in a folder, or in the folders of its splits; none where it is not of this form."""
    questions = sorted(path.glob("*/*/question.txt")) or sorted(path.glob("*/question.txt"))
    return [question.parent for question in questions]


def read_official_folder(folder: Path) -> dict[str, Any]:
    """A problem's folder as a record of the hub."""
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
