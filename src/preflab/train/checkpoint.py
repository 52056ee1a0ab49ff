"""Checkpoints without pickle: each has one safetensors file, one JSON file and a file of checksums.

A checkpoint is a tree of dictionaries whose leaves are tensors or JSON values. It is written under a temporary name, fsynced
and renamed. If a checkpoint is damaged, the log names it, and the checkpoint before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from preflab.errors import UserError
from preflab.train import faults
from preflab.train.files import new_directory, read_json, remove, sha256, write_json
from preflab.train.log import logger

TENSORS, VALUES = "tensors.safetensors", "values.json"
Check = Callable[[Mapping[str, Any]], None]
"""Raises `UserError` if a run cannot go on from a checkpoint's tree."""


def write_checkpoint(directory: Path, step: int, tree: Mapping[str, Any], *, keep: int) -> None:
    """Writes a checkpoint such as `directory/step-00000042`. Keeps the newest `keep` checkpoints up to this step and removes
    the others.

    A checkpoint of a later step is removed too: it must be damaged, since otherwise the run would have gone on from it. A
    half-written checkpoint is also removed.
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
    for other in directory.glob("step-*"):
        if other not in kept:
            remove(other)


def checkpoint_name(step: int) -> str:
    return f"step-{step:08d}"


def list_checkpoints(directory: Path) -> list[Path]:
    """The checkpoints in a directory, oldest first."""
    return sorted(path for path in directory.glob("step-*") if path.is_dir() and path.suffix != ".tmp")


def read_newest_checkpoint(directory: Path, *checks: Check) -> dict[str, Any] | None:
    """The newest checkpoint that has right checksums and passes the first check. If no checkpoint passes the first check,
    the next check is used instead. Returns None if there is no checkpoint. Raises `UserError` if no checkpoint passes any
    check."""
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
                logger.warning("checkpoint %s is damaged (%s); the one before it is used", path.name, error)
    if paths:
        raise UserError(f"{reasons[0]} No checkpoint under {directory} is intact. Start again with --fresh.")
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's tree. Raises `UserError` if a checksum does not hold, or if the tree belongs to another step."""
    checksums = read_json(path / "checksums.json")
    for name in (TENSORS, VALUES):
        if not (path / name).is_file() or not isinstance(checksums, dict) or checksums.get(name) != sha256(path / name):
            raise UserError(f"The checksum of {path / name} does not hold.")
    tree = unflatten(load_file(path / TENSORS), read_json(path / VALUES))
    step = tree.get("step")
    if not isinstance(step, int) or path.name != checkpoint_name(step):
        raise UserError(f"{path} holds the checkpoint of step {step}.")
    return tree


def checkpoint_bytes(tree: Mapping[str, Any]) -> int:
    """The size in bytes of a checkpoint of this state. It includes the two moments that Adam holds from its first update
    on."""
    tensors, _ = flatten(tree)
    plain = {name: tensor.nbytes for name, tensor in tensors.items() if "/adam/" not in name}
    return sum(count * (3 if "/weights/" in name else 1) for name, count in plain.items())


def flatten(tree: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a tree and its JSON values, each by its path `a/b/c`."""
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
    """The inverse of `flatten`, except that empty dictionaries are lost."""
    tree: dict[str, Any] = {}
    for path, item in {**tensors, **values}.items():
        *parents, leaf = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = item
    return tree
