"""Loads data sets that the package `datasets` saved in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.models.hub import first_line


def load_saved_records(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the records of a data set that the package `datasets` saved in a folder. Each record comes with its place.
    Raises `UserError` if the data set does not load."""
    import datasets

    try:
        rows: Any = datasets.load_from_disk(str(folder))
        for number, record in enumerate(rows, start=1):
            yield f"{folder}:{number}", dict(record)
    except Exception as error:
        raise UserError(f"{folder} does not load: {first_line(error)}") from error
