"""Reads one record as the testbeds read the records of a file."""

from __future__ import annotations

from typing import Any

from preflab.data.reading import FileReading
from preflab.data.row import DialogueRow


def parse_record(record: dict[str, Any], where: str) -> DialogueRow:
    """The only row of a file with this record. Raises what reading the file raises."""
    [(_, row)] = FileReading(tested=True).read_rows([(where, record)])
    return row
