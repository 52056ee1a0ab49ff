"""Attempts: each process writes in a directory of its own, continues the latest work, and only the current attempt counts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import UserError
from preflab.study.launchers import attempts
from preflab.study.launchers.attempts import (
    attempts_of,
    begin_attempt,
    continue_latest,
    copy_work,
    publish,
    read_ending,
    write_ending,
)
from preflab.train.directory import RUN_FORMAT
from preflab.train.finished import checksums
from preflab.train.sealed import write_sealed


def write_run(directory: Path, text: str, *, finished: bool = False) -> None:
    """A run with one checkpoint and one line of metrics; with `finished` also its model and its result."""
    checkpoint = directory / "checkpoints" / "step-00000001"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "tensors.safetensors").write_text(text)
    (directory / "metrics.jsonl").write_text(f'{{"text": "{text}"}}\n')
    (directory / "lock").touch()
    write_sealed(directory / "manifest.json", {"format": RUN_FORMAT, "spec": {}})
    if finished:
        (directory / "final").mkdir(exist_ok=True)
        (directory / "final" / "model.safetensors").write_text(text)
        write_sealed(directory / "result.json", {"diverged": None, "files": checksums(directory)})


def model_of(directory: Path) -> str:
    return (directory / "final" / "model.safetensors").read_text()


def test_each_attempt_continues_a_copy_of_the_latest_work(tmp_path: Path) -> None:
    """The first attempt continues a run that was begun without a cluster, the second one the first. What the first writes
    afterwards (its process may still live) does not reach the second; neither do its lock and its ending."""
    run = tmp_path / "seed-0" / "ppo"
    write_run(run, "local")
    first = begin_attempt(run)
    assert (first / "metrics.jsonl").read_text() == '{"text": "local"}\n'
    assert not (first / "lock").exists()
    write_run(first, "one")
    write_ending(first, 0)
    second = begin_attempt(run)
    write_run(first, "zombie")
    assert [place.name for place in attempts_of(run)] == ["ppo.attempt-1", "ppo.attempt-2"]
    assert (second / "metrics.jsonl").read_text() == '{"text": "one"}\n'
    assert read_ending(second) is None
    assert not (second / "lock").exists()


def test_an_attempt_without_a_run_is_passed_over(tmp_path: Path) -> None:
    """A machine that dies before its run begins leaves an empty attempt: the next one continues the attempt before it."""
    run = tmp_path / "ppo"
    write_run(begin_attempt(run), "one")
    attempts.create_attempt(run)
    assert (begin_attempt(run) / "metrics.jsonl").read_text() == '{"text": "one"}\n'


def test_two_processes_never_share_an_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both processes see attempt 1 as free; `mkdir` lets one of them have it, and the other takes attempt 2."""
    run = tmp_path / "ppo"
    seen = iter([[], []])  # what both read before either created a directory
    real = attempts.attempts_of
    monkeypatch.setattr(attempts, "attempts_of", lambda directory: next(seen, None) or real(directory))
    places = {attempts.create_attempt(run).name, attempts.create_attempt(run).name}
    assert places == {"ppo.attempt-1", "ppo.attempt-2"}


def test_a_copy_of_a_run_that_writes_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the first copy is made, the run writes step 2 and removes step 1. A copy with the journal of one moment and
    the checkpoint of another would not resume exactly: the copy is made again."""
    source, target = tmp_path / "source", tmp_path / "target"
    write_run(source, "one")
    real, copies = shutil.copytree, []

    def copytree(*arguments: Any, **settings: Any) -> None:
        real(*arguments, **settings)
        if arguments[0] == source:  # not one of its folders, for which copytree calls itself
            copies.append(arguments)
        if len(copies) == 1 and arguments[0] == source:
            (source / "checkpoints" / "step-00000001").rename(source / "checkpoints" / "step-00000002")

    monkeypatch.setattr(shutil, "copytree", copytree)
    copy_work(source, target)
    assert len(copies) == 2
    assert [path.name for path in (target / "checkpoints").iterdir()] == ["step-00000002"]
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


def test_a_run_that_never_stops_changing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "source", "one")
    names = map(str, range(1000))
    monkeypatch.setattr(attempts, "name_checkpoints", lambda directory: [next(names)])
    with pytest.raises(UserError, match="changes too fast"):
        copy_work(tmp_path / "source", tmp_path / "target")


def test_a_published_attempt_is_the_run(tmp_path: Path) -> None:
    """The run's directory then holds the attempt without its ending; no attempt and no order is left."""
    run = tmp_path / "ppo"
    first, second = begin_attempt(run), begin_attempt(run)
    write_run(first, "stale", finished=True)
    write_run(second, "current", finished=True)
    write_ending(second, 0)
    attempts.order_file(run).touch()
    publish(second, run)
    assert model_of(run) == "current"
    assert [path.name for path in tmp_path.iterdir()] == ["ppo"]
    assert not (run / "ending.json").exists()


def test_publishing_replaces_an_unfinished_run_and_keeps_the_users_files(tmp_path: Path) -> None:
    run = tmp_path / "ppo"
    write_run(run, "unfinished")
    (run / "notes.txt").write_text("mine")
    attempt = begin_attempt(run)
    write_run(attempt, "current", finished=True)
    publish(attempt, run)
    assert (model_of(run), (run / "notes.txt").read_text()) == ("current", "mine")


def test_the_first_publisher_wins(tmp_path: Path) -> None:
    """Two heads of one study (no lock can be trusted everywhere) publish one run: the first one's files stay, because
    another run may be reading them. A run whose model was changed later is not whole, and is replaced."""
    run = tmp_path / "ppo"
    for text in ("first", "second"):
        attempt = attempts.create_attempt(run)
        write_run(attempt, text, finished=True)
        publish(attempt, run)
        assert model_of(run) == "first"
    (run / "final" / "model.safetensors").write_text("damaged")
    attempt = attempts.create_attempt(run)
    write_run(attempt, "third", finished=True)
    publish(attempt, run)
    assert model_of(run) == "third"


def test_a_study_goes_on_without_its_cluster(tmp_path: Path) -> None:
    """The latest attempt becomes the run's directory, in place of the older run there, and is not an attempt any more. A
    run without attempts stays."""
    run = tmp_path / "ppo"
    write_run(run, "local")
    write_run(begin_attempt(run), "cluster")
    continue_latest(run)
    assert (run / "metrics.jsonl").read_text() == '{"text": "cluster"}\n'
    assert attempts_of(run) == []
    continue_latest(run)
    assert (run / "metrics.jsonl").read_text() == '{"text": "cluster"}\n'
