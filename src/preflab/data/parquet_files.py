"""Reads the rows of Parquet files."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from preflab.data.lines import READ_ERRORS, ReadLine
from preflab.errors import UserError
from preflab.models.hub import first_line

_BATCH = 512


def read_parquet(file: BufferedReader, path: Path) -> Iterator[ReadLine]:
    """Yields the rows of a Parquet file. Raises `UserError` if the file has no rows. Yields an error if a row cannot be
    read."""
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with tempfile.TemporaryFile() as plain:
            # A Parquet reader seeks in the file. A file that cannot seek, or is gzipped and therefore seeks slowly, is
            # copied first.
            if not file.seekable() or isinstance(file, gzip.GzipFile):
                shutil.copyfileobj(file, plain)
            source: Any = plain if plain.tell() else file
            table = pyarrow.parquet.ParquetFile(source)
            _refuse_repeated_columns(table.schema_arrow.names, path)
            for batch in table.iter_batches(_BATCH):
                for record in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", record
    except (*READ_ERRORS, pyarrow.ArrowException, ValueError) as error:
        yield f"{path}:{number + 1}", UserError(f"{path} cannot be read after row {number}: {first_line(error)}.")
        return
    if not number:
        raise UserError(f"{path} is empty: the file contains no row.")


def _refuse_repeated_columns(names: list[str], path: Path) -> None:
    """Raises `UserError` if two columns have the same name, because a row could contain only one of them."""
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise UserError(f"{path}: the column `{repeated[0][:40]}` occurs twice. Remove or rename one of these columns.")
