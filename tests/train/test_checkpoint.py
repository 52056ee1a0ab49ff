"""What is on the disk: checkpoints that are whole or named as damaged, files that are old or new, whose a directory is."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from preflab.errors import UserError
from preflab.models.facts import TRAINED_ON
from preflab.train import checkpoint, files
from preflab.train.checkpoint import flatten, list_checkpoints, read_newest_checkpoint, unflatten, write_checkpoint
from preflab.train.directory import claim, clear, locked, read_manifest
from preflab.train.files import Lines, new_directory, read_json, read_lines, write_json
from preflab.train.log import RUN_LOG, logged, logger
from preflab.train.ownership import refuse_in_the_way, remove_own
from preflab.train.replacing import set_aside, settle
from preflab.train.sealed import write_sealed

KEYS = st.text("ab.0_-", min_size=1, max_size=4)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.text(max_size=3), st.floats(-1e9, 1e9))
LEAVES = st.one_of(VALUES, st.lists(VALUES, max_size=2), st.integers(0, 3).map(lambda n: torch.arange(n).float()))
TREES = st.dictionaries(KEYS, st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3)))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return type(one) is type(other) and one == other


def tree(step: int) -> dict[str, Any]:
    return {
        "policy": {"weights": {"a.b": torch.full((2, 3), float(step))}, "adam": {}, "position": 0.1 * step},
        "step": step,
        "best": None,
    }


@given(TREES)
def test_flatten_and_back(data: dict[str, Any]) -> None:
    """Protects every state: tensors and JSON values come back in their places, whatever the names (dots included)."""
    tensors, values = flatten(data)
    assert all(isinstance(tensor, Tensor) for tensor in tensors.values())
    assert same(unflatten(tensors, json.loads(json.dumps(values))), data)


def test_saved_and_loaded(tmp_path: Path) -> None:
    """Protects resume: dtypes, scalars and views survive the disk; an empty state leaves no trace."""
    odd = {"step": torch.tensor(3.0), "half": torch.ones(2, dtype=torch.bfloat16), "view": torch.arange(6).view(2, 3).T}
    write_checkpoint(tmp_path, 5, {**tree(5), "odd": odd}, keep=1)
    loaded = read_newest_checkpoint(tmp_path)
    assert loaded is not None
    assert same(loaded["odd"], odd)
    assert "adam" not in loaded["policy"] and loaded["best"] is None and loaded["step"] == 5


def test_nothing_saved_yet(tmp_path: Path) -> None:
    """Protects a fresh start: no directory, or one with a half-written checkpoint only, is no checkpoint."""
    assert read_newest_checkpoint(tmp_path / "checkpoints") is None
    (tmp_path / "step-00000001.tmp").mkdir()
    assert read_newest_checkpoint(tmp_path) is None


def test_the_newest_are_kept(tmp_path: Path) -> None:
    """Protects the disk: the last k stay, and what a crash left half written goes."""
    (tmp_path / "step-00000001.tmp").mkdir()
    for step in (1, 5, 30, 200):
        write_checkpoint(tmp_path, step, tree(step), keep=2)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000030", "step-00000200"]


def test_no_pickle_is_written(tmp_path: Path) -> None:
    """Protects whoever loads it: safetensors and JSON alone."""
    write_checkpoint(tmp_path, 1, tree(1), keep=1)
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"tensors.safetensors", "values.json", "checksums.json"}
    for path in tmp_path.rglob("*.json"):
        json.loads(path.read_text())
    size = int.from_bytes((tmp_path / "step-00000001" / "tensors.safetensors").read_bytes()[:8], "little")
    json.loads((tmp_path / "step-00000001" / "tensors.safetensors").read_bytes()[8 : 8 + size])


def flip(path: Path) -> None:
    """One bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["tensors.safetensors", "values.json", "checksums.json"])
@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_damage_is_named_and_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: Any
) -> None:
    """Protects a run whose last checkpoint was damaged: whichever file, however."""
    write_checkpoint(tmp_path, 1, tree(1), keep=2)
    write_checkpoint(tmp_path, 2, tree(2), keep=2)
    damage(tmp_path / "step-00000002" / name)
    with caplog.at_level(logging.WARNING, logger="preflab"):
        loaded = read_newest_checkpoint(tmp_path)
    assert loaded is not None and loaded["step"] == 1
    assert "step-00000002 is damaged" in caplog.text


def test_all_damaged(tmp_path: Path) -> None:
    """Protects from silently starting over where work was lost: say so, and the way out."""
    write_checkpoint(tmp_path, 1, tree(1), keep=2)
    flip(tmp_path / "step-00000001" / "values.json")
    with pytest.raises(UserError, match="--fresh"):
        read_newest_checkpoint(tmp_path)


def test_a_damaged_one_does_not_crowd_out_an_intact_one(tmp_path: Path) -> None:
    """Protects the run after damage: it goes on from step 1, and its next checkpoint (2, of which one is kept) must not be
    removed in favour of the damaged one of step 3."""
    write_checkpoint(tmp_path, 1, tree(1), keep=2)
    write_checkpoint(tmp_path, 3, tree(3), keep=2)
    flip(tmp_path / "step-00000003" / "values.json")
    write_checkpoint(tmp_path, 2, tree(2), keep=1)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000002"]
    loaded = read_newest_checkpoint(tmp_path)
    assert loaded is not None and loaded["step"] == 2


def test_a_failed_save_leaves_the_old(tmp_path: Path) -> None:
    """Protects the last checkpoint from the next one's failure (a full disk, a value that JSON has no word for)."""
    write_checkpoint(tmp_path, 1, tree(1), keep=1)
    with pytest.raises(ValueError, match=r"nan|JSON"):
        write_checkpoint(tmp_path, 2, {**tree(2), "loss": float("nan")}, keep=1)
    loaded = read_newest_checkpoint(tmp_path)
    assert loaded is not None and loaded["step"] == 1


# -- files ----------------------------------------------------------------------------------------------------------------


def test_json_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects manifests and results: until the rename the old one stands, whole; it is on the disk before the rename."""
    path = tmp_path / "data.json"
    write_json(path, {"a": 1})
    synced: list[int] = []

    def stop(source: Path, target: Path) -> None:
        assert json.loads(Path(source).read_text()) == {"a": 2}
        assert synced
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr(files.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}


def test_a_pipe_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    """Protects a command from waiting for ever: whatever a run opens is refused in one line if it is a pipe."""

    def log_into(directory: Path) -> None:
        with logged(directory):
            pass

    def lock(directory: Path) -> None:
        with locked(directory, patience=0.0):
            pass

    opened: dict[str, Callable[[], Any]] = {
        "manifest.json": lambda: read_manifest(tmp_path),
        "a.json": lambda: read_json(tmp_path / "a.json"),
        "b.json.tmp": lambda: write_json(tmp_path / "b.json", {}),
        "metrics.jsonl": lambda: Lines(tmp_path / "metrics.jsonl"),
        "answers.jsonl": lambda: read_lines(tmp_path / "answers.jsonl"),
        "run.log": lambda: log_into(tmp_path),
        "lock": lambda: lock(tmp_path),
    }
    for name, act in opened.items():
        os.mkfifo(tmp_path / name)
        with pytest.raises(UserError, match=f"{name} is not a regular file"):
            act()


def test_damaged_json_is_named(tmp_path: Path) -> None:
    """Protects the user from a traceback: the file and what is wrong; a file that is not there is said to be missing."""
    path = tmp_path / "data.json"
    with pytest.raises(UserError, match=r"no file .*data\.json"):
        read_json(path)
    path.write_text('{"a": ')
    with pytest.raises(UserError, match=r"data\.json is damaged"):
        read_json(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="damaged"):
        read_json(path)


def test_a_directory_is_replaced_at_once(tmp_path: Path) -> None:
    """Protects saved models: filled aside, then in place, the old one gone whole; what fails leaves the old one."""
    path = tmp_path / "final"
    with new_directory(path) as aside:
        (aside / "one").write_text("1")
        assert not path.exists()
    with pytest.raises(FileNotFoundError), new_directory(path) as aside:
        (aside / "absent" / "two").write_text("2")
    assert [file.name for file in path.iterdir()] == ["one"]
    with new_directory(path) as aside:
        assert list(aside.iterdir()) == []  # nothing of the one that failed
        (aside / "three").write_text("3")
    assert [file.name for file in path.iterdir()] == ["three"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["final"]


def test_a_directory_is_never_half_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from a crash while an old directory is being removed: it was moved away before, whole."""
    path = tmp_path / "best"
    with new_directory(path) as aside:
        (aside / "one").write_text("1")
    half_gone: list[bool] = []
    remove = files.shutil.rmtree

    def spy(target: Path, **kwargs: Any) -> None:
        half_gone.append(Path(target) == path)
        remove(target, **kwargs)

    monkeypatch.setattr(files.shutil, "rmtree", spy)
    with new_directory(path) as aside:
        (aside / "two").write_text("2")
    assert half_gone and not any(half_gone)


def test_lines_are_cut_back(tmp_path: Path) -> None:
    """Protects metrics: a resumed run goes on behind what its checkpoint had seen, without a gap or a repetition."""
    lines = Lines(tmp_path / "metrics.jsonl")
    lines.write({"step": 1})
    mark = lines.mark()
    lines.write({"step": 2, "longer": "x" * 50})
    again = Lines(tmp_path / "metrics.jsonl")
    assert again.holds(mark)
    again.cut(mark["bytes"])
    assert again.mark() == mark
    again.write({"step": 2})
    assert read_lines(tmp_path / "metrics.jsonl") == [{"step": 1}, {"step": 2}]
    assert read_lines(tmp_path / "absent.jsonl") == []


def test_a_half_written_line_is_left_out(tmp_path: Path) -> None:
    """Protects whoever reads while a run writes, or after a kill; a damaged line in the middle is named instead."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n\n{"step": 2}\n{"ste')
    assert read_lines(path) == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n{"ste\n{"step": 3}\n')
    with pytest.raises(UserError, match="line 2"):
        read_lines(path)


# -- whose a directory is -------------------------------------------------------------------------------------------------


MANIFEST = {"format": 1, "spec": {"seed": 1, "name": "a"}, "versions": {"torch": "2"}}


def test_the_same_run_takes_its_directory_again(tmp_path: Path) -> None:
    """Protects resume: the same spec goes on, under other versions too; another spec is refused, naming what differs."""
    claim(tmp_path, MANIFEST)
    claim(tmp_path, {**MANIFEST, "versions": {"torch": "3"}})
    assert read_manifest(tmp_path) == MANIFEST
    with pytest.raises(UserError, match=r"differs in seed.*--fresh"):
        claim(tmp_path, {**MANIFEST, "spec": {"seed": 2, "name": "a"}})


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    """Protects the user's own: a directory with other files is taken and they stay, also when the run is begun afresh."""
    (tmp_path / "notes.txt").write_text("mine")
    claim(tmp_path, MANIFEST)
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "final").mkdir()
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "manifest.json", "final", "best"])
def test_what_a_run_would_overwrite_is_refused(tmp_path: Path, name: str) -> None:
    """Protects the user's `final/` or `manifest.json` of another program: it is neither cleared nor written over."""
    path = tmp_path / name
    if "." in name:
        path.write_text('{"name": "a web app"}')
    else:
        path.mkdir()
        (path / "thesis.txt").write_text("mine")
    clear(tmp_path)
    assert path.exists()
    with pytest.raises(UserError, match=f"{name} was not written by a run"):
        claim(tmp_path, MANIFEST)
    assert path.exists()


@pytest.mark.parametrize(
    "name",
    ["final/notes.md", "checkpoints/mine.txt", "journal/mine.txt", "tensorboard/a", "best/a", "checkpoints/step-1/a"],
)
def test_foreign_files_in_a_runs_folders_are_never_deleted(tmp_path: Path, name: str) -> None:
    """Protects notes that a user keeps beside a model: `--fresh` names them and deletes nothing; a finished run that takes
    its checkpoints away leaves them."""
    own = (
        "final/config.json",
        "checkpoints/step-00000001/values.json",
        "best/weights.safetensors",
        "journal/round-0.json",
    )
    claim(tmp_path, MANIFEST)
    for path in (*own, name):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    write_sealed(tmp_path / "result.json", {"files": {"final/config.json": ""}})
    before = sorted(tmp_path.rglob("*"))
    for delete in (clear, set_aside):
        with pytest.raises(UserError, match=f"{name} was not written by a run"):
            delete(tmp_path)
        assert sorted(tmp_path.rglob("*")) == before
    for folder in ("checkpoints", "best"):
        remove_own(tmp_path, folder)
    assert (tmp_path / name).exists() and not any((tmp_path / path).exists() for path in own[1:3])
    (tmp_path / name).unlink()
    clear(tmp_path)
    assert not any((tmp_path / path).exists() for path in own)


@pytest.mark.parametrize(
    "name", ["replaced/mine.txt", "replaced/final/mine.txt", "replaced.tmp/mine.txt", "replaced", "replaced.tmp"]
)
def test_a_foreign_folder_of_replaced_files_is_refused(tmp_path: Path, name: str) -> None:
    """Protects what a user keeps under the name that `--fresh` uses: it is named and stays, with and without `--fresh`."""
    claim(tmp_path, MANIFEST)
    (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"{name} was not written by a run"):
        settle(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_move_that_was_cut_short_is_not_taken_for_the_users_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a run from its own `--fresh`: killed after any of its renames, there and back, it is put back whole."""
    claim(tmp_path, MANIFEST)
    written = ["final/config.json", f"final/{TRAINED_ON}", "answers.jsonl"]
    for name in ("metrics.jsonl", *written):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    write_sealed(tmp_path / "result.json", {"files": dict.fromkeys(written, "")})
    before = sorted(tmp_path.rglob("*"))
    rename = os.replace
    left = 0

    def die(source: Path, target: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        rename(source, target)

    for left_there in range(6):
        for left_back in range(6):
            with monkeypatch.context() as patch:
                patch.setattr(os, "replace", die)
                for left, move in ((left_there, set_aside), (left_back, settle)):  # noqa: B007  (`die` counts)
                    with contextlib.suppress(KeyboardInterrupt):
                        move(tmp_path)
            refuse_in_the_way(tmp_path)
            settle(tmp_path)
            assert sorted(tmp_path.rglob("*")) == before


def test_clearing_that_was_cut_short_can_be_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects `--fresh` from itself: killed half way, what is left is still known to be a run's."""
    claim(tmp_path, MANIFEST)
    for name in ("metrics.jsonl", "samples.jsonl"):
        (tmp_path / name).write_text("{}\n")
    unlink = Path.unlink

    def die(path: Path, missing_ok: bool = False) -> None:
        if path.name == "samples.jsonl":
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", die)
        with pytest.raises(KeyboardInterrupt):
            clear(tmp_path)
    clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    """Protects from two processes that write one run; the lock goes with its holder."""
    with locked(tmp_path), pytest.raises(UserError, match="Another process"), locked(tmp_path, patience=0.0):
        pass
    with locked(tmp_path, patience=0.0):
        pass


def test_a_refused_run_leaves_nothing(tmp_path: Path) -> None:
    """Protects a directory from the claim of a run that never began: no lock, no empty log, no new folder. What was there
    before stays, and so does the lock of a run."""

    def be_refused(directory: Path) -> None:
        with pytest.raises(UserError, match="refused"), locked(directory), logged(directory):
            raise UserError("refused")

    place = tmp_path / "runs" / "sft"
    be_refused(place)
    assert list(tmp_path.iterdir()) == []
    place.mkdir(parents=True)
    (place / "notes.txt").write_text("mine")
    be_refused(place)
    assert [path.name for path in place.iterdir()] == ["notes.txt"]
    with locked(place), logged(place):
        pass
    be_refused(place)
    assert sorted(path.name for path in place.iterdir()) == ["lock", "notes.txt", "run.log"]
    other = tmp_path / "other"
    other.mkdir()
    claim(other, MANIFEST)
    be_refused(other)
    assert sorted(path.name for path in other.iterdir()) == ["lock", "manifest.json"]


def test_a_refused_run_leaves_no_log_of_warnings(tmp_path: Path) -> None:
    """Protects a directory whose run warned before it was refused: the new log goes; an earlier log stays."""

    def warn() -> None:
        logger.warning("a warning")
        raise UserError("refused")

    def be_refused() -> None:
        with pytest.raises(UserError, match="refused"), locked(tmp_path / "run"), logged(tmp_path / "run"):
            warn()

    be_refused()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RUN_LOG).write_text("mine\n")
    be_refused()
    assert (tmp_path / "run" / RUN_LOG).read_text().startswith("mine\n")


@pytest.mark.parametrize("taken", [True, False])
def test_a_lock_of_another_program_keeps_its_content(tmp_path: Path, taken: bool) -> None:
    """Protects a file of the user's that is called `lock`: a run locks it, and neither empties nor removes it."""
    (tmp_path / "lock").write_text("mine")
    with contextlib.suppress(UserError), locked(tmp_path):
        if not taken:
            raise UserError("refused")
    assert (tmp_path / "lock").read_text() == "mine"


def test_who_waits_for_a_refused_run_gets_the_lock(tmp_path: Path) -> None:
    """Protects from two writers: the lock that a refused run removed is no lock any more, so who waited for it makes a new
    one, which a third process respects."""
    place, held, free = tmp_path / "run", threading.Event(), threading.Event()

    def wait() -> None:
        with locked(place):
            held.set()
            free.wait(10)

    def refuse_late() -> None:
        waiting.start()
        time.sleep(0.3)
        raise UserError("refused")

    waiting = threading.Thread(target=wait)
    with pytest.raises(UserError, match="refused"), locked(place):
        refuse_late()
    assert held.wait(10)
    with pytest.raises(UserError, match="Another process"), locked(place, patience=0.0):
        pass
    free.set()
    waiting.join()


def test_checkpoint_module_reads_no_pickle() -> None:
    """Protects from code in a checkpoint: no `torch.load` and no pickle in the module that reads them."""
    source = Path(checkpoint.__file__).read_text()
    assert "torch.load" not in source and "pickle." not in source
