"""Reads records from a file (JSON lines, JSON, CSV or Parquet, gzipped or not), a folder, or a data set on the hub.

A folder may contain a data set that the package `datasets` saved, the problems of APPS in their official form, or files
of records. `preflab.data.folders` finds the splits of a folder with files of records. `NAME#SPLIT` selects one split of
a folder or of a data set on the hub. `NAME:CONFIGURATION` selects one configuration of a data set on the hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from preflab.data.apps_folder import list_official_folders, read_official_folder
from preflab.data.csv_files import read_csv
from preflab.data.folders import SUFFIXES, find_suffix, group_files
from preflab.data.foreign import refuse_other_format
from preflab.data.hub import check_on_hub, list_hub_splits, load_hub_records
from preflab.data.json_files import read_json_file
from preflab.data.json_objects import list_object_splits
from preflab.data.lines import READ_ERRORS, ReadLine, open_plain, parse_lines
from preflab.data.parquet_files import read_parquet
from preflab.data.saved_folder import load_saved_records
from preflab.errors import UserError, nearest
from preflab.paths import user_path

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*(:[\w.-]+)?")
_PARQUET = b"PAR1"
_OBJECTS = re.compile(rb"(\xef\xbb\xbf)?\s*\[\s*[{\]]")
"""Matches the beginning of a JSON list of objects. A file of JSON lines never begins with this pattern."""
_RECORD = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*"')
"""Matches the beginning of a JSON object. The first line of a CSV table never begins with this pattern."""


def read_source(name: str, *, split: str = "", rows: int | None = None) -> Iterator[ReadLine]:
    """Yields the first `rows` records of a source (all records if `rows` is None). Each record comes with its place in
    the source. If a record cannot be read, yields a `UserError` with the reason instead of the record.

    `split`: the split to read. If `split` is empty, reads the split `train`, or the only split if there is no `train`.
    Raises `UserError` if there is no source with this name, or if the source has no such split.
    """
    name, split = part_split(name, split)
    return islice(_read_split(name, choose_split(name, list_splits(name), split)), rows)


def part_split(name: str, split: str = "") -> tuple[str, str]:
    """Returns the two parts of `NAME#SPLIT`: the name of the source, and the split. If the name contains no split,
    returns the name and the argument `split`."""
    place, mark, own = name.rpartition("#")
    return (place, own) if mark and not user_path(name).exists() else (name, split)


def list_splits(name: str) -> list[str]:
    """Returns the splits of a folder, of a data set on the hub, or of a JSON file that contains one list for each
    split. Returns [""] for any other file, because such a file has no splits."""
    path = user_path(name)
    if path.is_dir():
        if (path / "dataset_dict.json").is_file():
            return sorted(child.name for child in path.iterdir() if (child / "dataset_info.json").is_file())
        if (path / "dataset_info.json").is_file():
            return ["train"]
        return sorted({problem.parent.name for problem in list_official_folders(path)} or group_files(path))
    if path.exists() or not _is_hub_name(name):
        return (list_object_splits(path) if path.is_file() and find_suffix(path.name) == ".json" else []) or [""]
    check_on_hub(name)
    return list_hub_splits(name)


def choose_split(name: str, splits: list[str], wanted: str) -> str:
    """Returns the name of the split to read. If `wanted` is not empty, this is `wanted`. If `wanted` is empty, this is
    `train`, or the only split of a source that has no `train`. Raises `UserError` if the source does not have the split
    `wanted`. Also raises `UserError` if `wanted` is empty and the source has several splits but no `train`."""
    if wanted and splits == [""]:
        raise UserError(f"{name} is a file without splits. Leave out the split {wanted!r}.")
    if wanted and wanted not in splits:
        raise UserError(f"{name} has no split {wanted!r}.{nearest(wanted, splits)}")
    if not wanted and len(splits) > 1 and "train" not in splits:
        raise UserError(f"{name} has several splits: {', '.join(splits)}. Choose one split with `split`.")
    return wanted or ("train" if "train" in splits else splits[0])


def read_file(path: Path, split: str = "") -> Iterator[ReadLine]:
    """Yields the records of a file. The first bytes of the file show its format. If the first bytes do not show the
    format, the suffix of the file's name shows it. `split`: the split to read from a file with several splits; empty
    for a file without splits."""
    kind = find_suffix(path.name)
    try:
        with open_plain(path) as file:
            head = file.peek(4096)
            refuse_other_format(head, path)
            if head[:4] == _PARQUET:
                yield from read_parquet(file, path)
            elif kind in (".csv", ".tsv") and not (_OBJECTS.match(head) or _RECORD.match(head)):
                yield from read_csv(file, path, "\t" if kind == ".tsv" else ",")
            elif kind == ".json" or _OBJECTS.match(head):
                yield from read_json_file(file, path, split)
            else:
                yield from parse_lines(file, path)
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except READ_ERRORS as error:
        raise UserError(f"{path} cannot be read: {error}.") from error


def _read_split(name: str, split: str) -> Iterator[ReadLine]:
    path = user_path(name)
    if path.exists() and not path.is_dir():
        yield from read_file(path, split)
    elif not path.exists() and not _is_hub_name(name):
        raise UserError(f"There is no file {path}.")
    elif not path.is_dir():
        yield from ((where, dict(record)) for where, record in load_hub_records(name, None, split))
    elif (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
        yield from load_saved_records(path / split if (path / "dataset_dict.json").is_file() else path)
    elif problems := list_official_folders(path):
        yield from ((str(folder), read_official_folder(folder)) for folder in problems if folder.parent.name == split)
    else:
        for file in group_files(path)[split]:
            yield from read_file(file)


def _is_hub_name(name: str) -> bool:
    return _HUB_NAME.fullmatch(name) is not None and find_suffix(name) not in SUFFIXES
