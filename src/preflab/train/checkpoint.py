"""Writes and reads checkpoints without pickle: each has a safetensors file, a JSON file and a file of checksums.

A checkpoint is a tree of dictionaries whose leaves are tensors or JSON values. The checkpoint is written under a
temporary name, synced to the disk and then renamed. If the newest checkpoint is damaged, preflab logs a warning and
uses an older checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from preflab.errors import UserError
from preflab.text import one_line
from preflab.train import faults
from preflab.train.files import new_directory, read_json, remove, sha256, write_json
from preflab.train.log import logger
from preflab.train.ownership import is_checkpoint

TENSORS, VALUES = "tensors.safetensors", "values.json"
Check = Callable[[Mapping[str, Any]], None]
"""A function that raises `UserError` if a run cannot resume from the tree of a checkpoint."""


def write_checkpoint(directory: Path, step: int, tree: Mapping[str, Any], *, keep: int) -> None:
    """Writes a checkpoint such as `directory/step-00000042`. Keeps the newest `keep` checkpoints up to this step and
    removes all other checkpoints.

    The removed checkpoints include half-written checkpoints and checkpoints of later steps. If there is a checkpoint of
    a later step, it is damaged: the run would otherwise have resumed from it.
    """
    target = directory / checkpoint_name(step)
    with new_directory(target) as aside:
        tensors, values = flatten(tree)
        plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
        save_file(plain, aside / TENSORS)
        faults.pass_point("checkpoint.writing")
        write_json(aside / VALUES, values)
        write_json(aside / "checksums.json", {file.name: sha256(file) for file in sorted(aside.iterdir())})
        faults.pass_point("checkpoint.before-rename")
    faults.pass_point("checkpoint.after-rename")
    kept = [path for path in list_checkpoints(directory) if path.name <= target.name][-keep:]
    for other in directory.iterdir():
        if is_checkpoint(other.name) and other not in kept:
            remove(other)


def checkpoint_name(step: int) -> str:
    return f"step-{step:08d}"


def list_checkpoints(directory: Path) -> list[Path]:
    """Returns the paths of the checkpoints in a directory, oldest first."""
    names = [path for path in directory.glob("step-*") if is_checkpoint(path.name) and path.suffix != ".tmp"]
    return sorted(path for path in names if path.is_dir())


def read_newest_checkpoint(directory: Path, *checks: Check) -> dict[str, Any] | None:
    """Returns the tree of the newest checkpoint that has correct checksums and passes the first of `checks`. If no
    checkpoint passes the first check, tries all checkpoints with the next check. Returns None if there is no
    checkpoint. Raises `UserError` if every checkpoint fails every check."""
    paths = list_checkpoints(directory)
    reasons: list[str] = []
    for check in checks or (lambda tree: None,):
        for path in reversed(paths):
            try:
                tree = read_checkpoint(path)
                check(tree)
                return tree
            except UserError as error:
                reasons.append(f"{error}")
                logger.warning("checkpoint %s is damaged (%s); preflab tries an older checkpoint", path.name, error)
    if paths:
        raise UserError(f"{reasons[0]} No checkpoint under {directory} is intact. Start again with --fresh.")
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint and returns its tree. Raises `UserError` if a checksum is wrong, if a file does not have the
    form that `write_checkpoint` writes, or if the step of the tree is not the step in the checkpoint's name."""
    checksums = read_json(path / "checksums.json")
    for name in (TENSORS, VALUES):
        if not (path / name).is_file() or not isinstance(checksums, dict) or checksums.get(name) != sha256(path / name):
            raise UserError(f"The checksum of {path / name} is wrong or missing.")
    values = read_json(path / VALUES)
    if not isinstance(values, dict):
        raise UserError(f"{path / VALUES} is damaged: it is not a JSON object.")
    try:
        tree = unflatten(load_file(path / TENSORS), values)
    except SafetensorError as error:
        raise UserError(f"{path / TENSORS} is damaged: {one_line(str(error))}.") from error
    step = tree.get("step")
    if not isinstance(step, int) or path.name != checkpoint_name(step):
        raise UserError(f"{path} contains the checkpoint of step {step}, but the directory's name gives another step.")
    return tree


def checkpoint_bytes(tree: Mapping[str, Any]) -> int:
    """Returns the size in bytes of a checkpoint of this state. The size always includes the two moments of Adam, which
    exist only after the first update."""
    tensors, _ = flatten(tree)
    plain = {name: tensor.nbytes for name, tensor in tensors.items() if "/adam/" not in name}
    return sum(count * (3 if "/weights/" in name else 1) for name, count in plain.items())


def flatten(tree: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the tensors and the JSON values of a tree, as two dictionaries whose keys are paths such as `a/b/c`."""
    leaves = dict(_leaves(tree))
    tensors = {path: item for path, item in leaves.items() if isinstance(item, Tensor)}
    return tensors, {path: item for path, item in leaves.items() if path not in tensors}


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in tree.items():
        if isinstance(item, Mapping):
            yield from _leaves(item, f"{prefix}{key}/")
        else:
            yield prefix + key, item


def unflatten(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the tree from which `flatten` made these dictionaries, but without the tree's empty dictionaries. Raises
    `UserError` if a leaf and a dictionary have the same name."""
    tree: dict[str, Any] = {}
    for path, item in {**tensors, **values}.items():
        *parents, leaf = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UserError(f"The checkpoint is damaged: {path} is inside {parent!r}, which is a single value.")
        if leaf in node:
            raise UserError(f"The checkpoint is damaged: it contains {path} twice.")
        node[leaf] = item
    return tree
