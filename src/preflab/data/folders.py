"""Groups the files of a folder by split. The name of a file, or the name of a folder above the file, shows the split.

A name shows a split if the name contains a word such as `train`, `validation` or `test`. The file's name is read first
(`train_0.jsonl`, `test_prefs.parquet`). If it shows no split, the nearest folder whose name shows a split is used
(`train/helpful.jsonl`, or `default/train_prefs/0000.parquet` in data sets from the hub). If no name shows a split, the
split has the name of the file, without the suffix and without the number of a shard (`pairs` for
`pairs-00000-of-00002.parquet`). If the file's name contains only the number of a shard (`0000.parquet`), the split has
the name of the folder that contains the file. A file with such a name outside of every subfolder belongs to the split
`train`.
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
"""Matches a file name, without its suffix, that consists only of the number of a shard."""
_SPLIT_WORD = re.compile(
    r"(^|[-_.])(train|training|validation|valid|val|dev|test|testing|eval|evaluation)([-_.]|$)", re.IGNORECASE
)
_DESCRIPTIONS = frozenset(
    ("dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "package.json", "package-lock.json")
)
"""Names of files that describe a data set and contain no records."""
_DEFAULT = "train"


def find_suffix(name: str) -> str:
    """Returns the suffix of a file name in lower case. The suffix `.gz` does not count: the result for `x.json.gz` is
    `.json`."""
    return PurePath(name.lower().removesuffix(".gz")).suffix


def group_files(folder: Path) -> dict[str, list[Path]]:
    """Returns a mapping from each split to its files of records in the folder. Raises `UserError` if the folder
    contains no file of records."""
    groups: dict[str, list[Path]] = {}
    for file in _list_files(folder):
        groups.setdefault(name_split(file.relative_to(folder)), []).append(file)
    if not groups:
        raise UserError(f"{folder} contains no file of records ({', '.join(SUFFIXES)}, gzipped or not).")
    return groups


def name_split(file: PurePath) -> str:
    """Returns the name of the split to which a file belongs. `file`: the file's path, relative to the folder that is
    read."""
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
    """Checks whether the name of a file or folder contains a word for a split, such as `train` or `test`."""
    return _SPLIT_WORD.search(name) is not None


def _list_files(folder: Path) -> Iterator[Path]:
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if find_suffix(file.name) in SUFFIXES and file.name not in _DESCRIPTIONS and not hidden:
            yield file
