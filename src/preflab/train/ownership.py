"""Distinguishes the files that a run wrote in its folders from the files of the user. Does not import torch."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from preflab.errors import UserError
from preflab.models.facts import TRAINED_ON
from preflab.train.sealed import read_sealed, write_sealed

RESULT = "result.json"
PRODUCT = "product.json"
"""The record that a run keeps until its result is written. The record lists the files in `final/` and the file
`ANSWERS`. The run writes the record before these files get their final names. The result lists the same files, so the
run then removes the record."""
FINAL = "final"
"""The directory in which a run saves its output: a model, or the pairs or rankings that it made."""
METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
TIMING = "timing.jsonl"
ANSWERS = "answers.jsonl"
"""The file with a run's answers to the test problems under the study's first decoding setting (by default, greedy
decoding). Pairwise evaluators compare these answers with the answers of another run."""
REPLIES = "replies"
"""The folder with the replies of a server to a run whose policy is served."""
EVENTS = "events.out.tfevents.0000000000.preflab"
"""The event file in `tensorboard/`. TensorBoard reads files whose names contain `tfevents`."""
WRITING = "preflab.writing"
"""An empty folder in `final.tmp/`. It shows that a run is writing the other files in `final.tmp/`."""
CHECKPOINT = r"step-\d{8,}(\.old)?(\.tmp)?"
WRITTEN = {
    "checkpoints": rf"{CHECKPOINT}/(tensors\.safetensors|(values|checksums)\.json)(\.tmp)?",
    "best": r"weights\.safetensors",
    "journal": r".+\.json(\.tmp)?",
    REPLIES: r"[0-9a-f]{16}\.jsonl",
    "tensorboard": re.escape(EVENTS),
}
"""Maps each folder of a run to a regular expression for the paths of the files in it. The folder `final/` is not in
this table, because a record lists the files in `final/`."""
PLACES = (*WRITTEN, "best.tmp", "best.old.tmp", FINAL, f"{FINAL}.tmp", f"{FINAL}.old.tmp")
"""The folders of a run, and the temporary folders that a run uses while it writes or replaces its folders."""


def foreign_files(directory: Path) -> list[Path]:
    """Returns the paths of the files in a run's folders that the run did not write. Two files outside these folders are
    also checked. The path of `PRODUCT` is added if `PRODUCT` lists no files. The path of `ANSWERS` is added if no
    record lists `ANSWERS`. If `RESULT` exists but lists no files, for example because it is damaged, `ANSWERS` counts
    as written by the run."""
    paths = [path for name in PLACES for path in list_files(directory / name)]
    listed, record, result, answers = (
        listed_files(directory),
        *(directory / name for name in (PRODUCT, RESULT, ANSWERS)),
    )
    foreign = [path for path in paths if not is_own(path.relative_to(directory).as_posix(), listed)]
    if os.path.lexists(record) and not read_file_list(record):
        foreign.append(record)
    if os.path.lexists(answers) and ANSWERS not in listed and (read_file_list(result) or not result.exists()):
        foreign.append(answers)
    return foreign


def is_own(name: str, listed: Collection[str]) -> bool:
    """Returns True if a run writes files of this name. `listed`: the files in `final/` that the run wrote."""
    place, _, rest = name.partition("/")
    folder = place.removesuffix(".tmp").removesuffix(".old")
    if folder == FINAL:
        return f"{FINAL}/{rest}" in listed
    return re.fullmatch(WRITTEN[folder], rest) is not None


def is_checkpoint(name: str) -> bool:
    """Returns True for the name of a checkpoint, and for the temporary names that a checkpoint has while a run writes
    or replaces the checkpoint."""
    return re.fullmatch(CHECKPOINT, name) is not None


def listed_files(directory: Path) -> set[str]:
    """Returns the names of the files in `final/` that the run wrote. Returns the name `ANSWERS` too if a record lists
    it. The names come from the records `RESULT` and `PRODUCT`. If `final.tmp/` contains `WRITING`, all files in
    `final.tmp/` are added. If neither record lists a file, the folders `final/` and `final.old.tmp/` are also searched.
    If such a folder contains `TRAINED_ON`, all its files are added."""
    listed = {name for record in (RESULT, PRODUCT) for name in read_file_list(directory / record)}
    marks = (
        {f"{FINAL}.tmp": WRITING}
        if listed
        else {f"{FINAL}.tmp": WRITING, FINAL: TRAINED_ON, f"{FINAL}.old.tmp": TRAINED_ON}
    )
    for name, mark in marks.items():
        folder = directory / name
        if (folder / mark).exists():
            listed |= {f"{FINAL}/{path.relative_to(folder).as_posix()}" for path in list_files(folder)}
    return listed


def read_file_list(record: Path) -> Collection[str]:
    """Returns the names of the files that a record lists under `files`; () if there is no such list."""
    if not record.is_file():
        return ()
    try:
        files = read_sealed(record, {}).get("files")
    except UserError:  # a run with a damaged result can be replaced too
        return ()
    return files if isinstance(files, dict) else ()


def record_product(directory: Path, written: Path) -> None:
    """Adds the names of a product's files to the record `PRODUCT`. `written`: the folder that contains the complete
    files and that is later renamed to `final/`. Also adds the name of the model card, which is written later."""
    names = ["README.md", *(path.relative_to(written).as_posix() for path in list_files(written))]
    record_written(directory, [f"{FINAL}/{name}" for name in names])


def record_written(directory: Path, names: Iterable[str]) -> None:
    """Adds names of files to the record `PRODUCT`, before the run writes these files."""
    record = directory / PRODUCT
    write_sealed(record, {"files": {**dict.fromkeys(read_file_list(record), ""), **dict.fromkeys(names, "")}})


def list_files(place: Path) -> list[Path]:
    """Returns the sorted paths of all files and links below a folder. Does not follow links. If `place` is a link or a
    file instead of a folder, returns `[place]`."""
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        return [place]
    paths: list[Path] = []
    for folder, folders, names in os.walk(place):
        links = (name for name in folders if os.path.islink(os.path.join(folder, name)))
        paths += [Path(folder) / name for name in (*names, *links)]
    return sorted(paths)


def refuse_foreign(directory: Path) -> None:
    """Raises `UserError` if a folder of the run contains a file that the run did not write."""
    refuse_first(foreign_files(directory))


def refuse_in_the_way(directory: Path) -> None:
    """Raises `UserError` if a run that starts or resumes in the directory would replace or remove a file that no run
    wrote. Ignores files in the folder `checkpoints` that are not part of a checkpoint, because a run does not touch
    these files."""
    refuse_first([path for path in foreign_files(directory) if not lies_beside(path.relative_to(directory).parts)])


def lies_beside(parts: Sequence[str]) -> bool:
    """Returns True for a path in the folder `checkpoints` that is neither a checkpoint nor a file of a checkpoint.
    `parts`: the parts of the path, relative to the run directory."""
    return parts[0] == "checkpoints" and len(parts) > 1 and not is_checkpoint(parts[1])


def refuse_first(foreign: list[Path]) -> None:
    if foreign:
        raise UserError(
            f"{foreign[0]} was not written by a run, and a run would delete it. Move it to another place, or choose "
            "another --output."
        )


def remove_own(directory: Path, folder: str) -> None:
    """Removes the files that a run wrote in one of its folders, and the folders that are then empty. Keeps other files.
    Does nothing if the folder is a link."""
    if (directory / folder).is_symlink():
        return
    for path in list_files(directory / folder):
        if is_own(path.relative_to(directory).as_posix(), ()):
            path.unlink(missing_ok=True)
    for place, _, _ in os.walk(directory / folder, topdown=False):
        if not any(Path(place).iterdir()):
            Path(place).rmdir()
