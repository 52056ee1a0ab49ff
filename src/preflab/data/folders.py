"""Groups the files of a folder by split. The split of a file is found from its name, or else from the names of the
folders above it.

A name shows a split if it contains a word such as `train`, `validation` or `test`. The file's own name comes first
(`train_0.jsonl`, `test_prefs.parquet`), then the nearest folder with such a name (`train/helpful.jsonl`, or
`default/train_prefs/0000.parquet` as the hub writes it). If no name shows a split, a file whose name is only the number
of a shard belongs to a split with the name of its folder. Every other file is a split by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePath

from preflab.errors import UserError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_SHARD = re.compile(r"(-\d+-of-\d+)?(-[0-9a-f]{16})?$")
_NUMBER = re.compile(r"[-_.]\d+$")
_NAMELESS = re.compile(r"(data[-_.])?\d+|(shard|part|chunk)([-_.]?\d+)?|part-\d+-.*", re.IGNORECASE)
"""Matches a file's name that contains only the number of a shard."""
_SPLIT_WORD = re.compile(
    r"(^|[-_.])(train|training|validation|valid|val|dev|test|testing|eval|evaluation)([-_.]|$)", re.IGNORECASE
)
_DESCRIPTIONS = frozenset(
    ("dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "package.json", "package-lock.json")
)
"""Files that describe a data set and hold no records."""
_DEFAULT = "train"


def find_suffix(name: str) -> str:
    """Returns the suffix of a file name in lower case. A suffix `.gz` is removed first."""
    return PurePath(name.lower().removesuffix(".gz")).suffix


def group_files(folder: Path) -> dict[str, list[Path]]:
    """Groups the record files in a folder by split. Raises `UserError` if the folder has no record file."""
    groups: dict[str, list[Path]] = {}
    for file in _list_files(folder):
        groups.setdefault(name_split(file.relative_to(folder)), []).append(file)
    if not groups:
        raise UserError(f"{folder} contains no file of records ({', '.join(SUFFIXES)}, gzipped or not).")
    return groups


def name_split(file: PurePath) -> str:
    """Returns the split of a file. `file`: its path inside the folder that is read."""
    stem = _SHARD.sub("", file.name[: file.name.lower().rindex(find_suffix(file.name))])
    if names_split(stem):
        return _NUMBER.sub("", stem)
    folders = [part for part in file.parts[-2::-1] if names_split(part)]
    if folders:
        return folders[0]
    if _NAMELESS.fullmatch(stem):
        return file.parent.name or _DEFAULT
    return stem


def names_split(name: str) -> bool:
    """Checks whether a name contains a word for a split, such as `train` or `test`."""
    return _SPLIT_WORD.search(name) is not None


def _list_files(folder: Path) -> Iterator[Path]:
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if find_suffix(file.name) in SUFFIXES and file.name not in _DESCRIPTIONS and not hidden:
            yield file
