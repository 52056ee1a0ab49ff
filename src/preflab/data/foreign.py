"""Checks the first bytes of a file for formats that preflab cannot read. The error message tells the user how to
convert the file."""

from __future__ import annotations

import re
from pathlib import Path

from preflab.errors import UserError

_FORMATS = {
    "zip (or a spreadsheet)": re.compile(rb"PK\x03\x04"),
    "bzip2": re.compile(rb"BZh[1-9]1AY&SY"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "Zstandard": re.compile(rb"\x28\xb5\x2f\xfd"),
    "Arrow": re.compile(rb"ARROW1|\xff\xff\xff\xff"),
    "gzip (twice)": re.compile(rb"\x1f\x8b"),
    "UTF-16": re.compile(rb"\xff\xfe|\xfe\xff|[^\x00]\x00[^\x00]\x00|\x00[^\x00]\x00[^\x00]"),
}
_INSTEAD_OF_DATA = {
    "a pointer to a file in Git LFS": re.compile(rb"version https://git-lfs\.github\.com/"),
    "a page in HTML": re.compile(rb"\s*<(!doctype html|html)\b", re.IGNORECASE),
}
"""Contents that a failed download may save in place of the data file."""


def refuse_other_format(head: bytes, path: Path) -> None:
    """Raises `UserError` if a file has a known format that preflab cannot read. Also raises `UserError` if a file
    contains something else instead of data, such as a page in HTML. `head`: the first bytes of the file."""
    name = next((name for name, beginning in _FORMATS.items() if beginning.match(head)), None)
    if name is not None:
        raise UserError(
            f"{path} has the format {name}, which preflab cannot read. Unpack the file. Or save its records as JSON lines, "
            "JSON or CSV in UTF-8, or as Parquet. Each of these files may be gzipped."
        )
    name = next((name for name, beginning in _INSTEAD_OF_DATA.items() if beginning.match(head)), None)
    if name is not None:
        raise UserError(f"{path} is {name}, and contains no data. Download the data file itself.")
