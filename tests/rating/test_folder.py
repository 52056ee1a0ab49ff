"""The folder of a rating: what is written stays, what was cut is dropped, what is wrong is named in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from preflab.errors import UserError
from preflab.rating import Label, RatedPair, keep_pairs, read_labels, read_pairs
from preflab.rating.events import Event, RatingChoice, make_event
from preflab.rating.folder import append_durably, clean_name, events_path, open_store


def event(pair: str, choice: RatingChoice, *, swapped: bool = False) -> Event:
    return make_event(pair, choice, swapped=swapped, seconds=1.0)


@pytest.mark.parametrize(
    ("choice", "swapped", "outcome"),
    [("left", False, 1.0), ("left", True, 0.0), ("right", False, 0.0), ("right", True, 1.0), ("tie", True, 0.5)],
)
def test_order_is_undone(folder: Path, choice: RatingChoice, swapped: bool, outcome: float) -> None:
    """The label is the outcome of the first answer, on whichever side it stood."""
    with open_store(folder) as store:
        store.add("ann", [event("p0", choice, swapped=swapped)])
    assert read_labels(folder) == [Label("p0", "ann", outcome, 1.0)]


def test_undo_and_skip(folder: Path) -> None:
    """An undo takes back the last event, a label or a skip; a skip is no label."""
    with open_store(folder) as store:
        store.add("ann", [event("p0", "left"), event("p1", "skip"), event("p1", "undo"), event("p0", "undo")])
        store.add("ann", [event("p0", "right"), event("p1", "skip")])
    assert [(label.pair, label.outcome) for label in read_labels(folder)] == [("p0", 0.0)]


def test_a_cut_line_is_dropped(folder: Path) -> None:
    """A kill in the middle of a line loses this line alone, and the next label begins a line of its own."""
    with open_store(folder) as store:
        store.add("ann", [event("p0", "left"), event("p1", "tie")])
    path = events_path(folder, "ann")
    path.write_bytes(path.read_bytes()[:-20])
    assert [label.pair for label in read_labels(folder)] == ["p0"]
    with open_store(folder) as store:
        store.add("ann", [event("p1", "right")])
    assert [(label.pair, label.outcome) for label in read_labels(folder)] == [("p0", 1.0), ("p1", 0.0)]


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label that cannot be brought to the disk leaves no part of a line behind."""
    path = tmp_path / "ann.jsonl"
    append_durably(path, b"one\n")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        append_durably(path, b"two\n")
    assert path.read_bytes() == b"one\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "it is not JSON"),
        ('{"pair": "p0"}', "`choice`: Field required"),
        (
            event("p0", "left").model_dump_json().replace('"outcome":1.0', '"outcome":0.5'),
            "the outcome 0.5 does not match the choice",
        ),
        (event("p0", "left").model_dump_json() + "\n" + event("p0", "tie").model_dump_json(), "has a label already"),
        (event("p0", "undo").model_dump_json(), "undoes an event that is not the last event"),
    ],
)
def test_damage_is_named(folder: Path, line: str, words: str) -> None:
    """A damaged or edited line is never read as something else: the message names the file."""
    path = events_path(folder, "ann")
    path.parent.mkdir()
    path.write_text(line + "\n")
    with pytest.raises(UserError, match=words) as raised:
        read_labels(folder)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_unknown_pairs_and_second_labels_are_refused(folder: Path) -> None:
    with open_store(folder) as store:
        with pytest.raises(UserError, match="is not among the pairs"):
            store.add("ann", [event("p99", "left")])
        store.add("ann", [event("p0", "left")])
        with pytest.raises(UserError, match="has a label already"):
            store.add("ann", [event("p0", "right")])
    assert [label.outcome for label in read_labels(folder)] == [1.0]


def test_one_writer(folder: Path) -> None:
    """Two processes that write into one folder would lose each other's labels."""
    with (
        open_store(folder),
        pytest.raises(UserError, match="Another process is rating"),
        open_store(folder),
    ):
        pass


def test_other_pairs_are_refused(folder: Path, pairs: list[RatedPair]) -> None:
    """Labels of one set of pairs are never mixed with those of another."""
    keep_pairs(pairs, folder)
    with pytest.raises(UserError, match="contains the rating of other pairs"):
        keep_pairs(pairs[:-1], folder)


@pytest.mark.parametrize("name", ["../../x", "a/b", "..", ".", "CON~1", "Zoë", "a b", "%2F"])
def test_no_name_leads_out(folder: Path, name: str) -> None:
    """Protects the disk and the names: each rater has one file in the folder, from which the name is read again."""
    with open_store(folder) as store:
        store.add(clean_name(name), [event("p0", "left")])
    assert events_path(folder, name).resolve().parent == (folder / "labels").resolve()
    assert [label.rater for label in read_labels(folder)] == [name]


@pytest.mark.parametrize(("name", "words"), [(" ", "empty"), ("a\u202eb", "cannot be seen"), ("ü" * 60, "too long")])
def test_names_that_are_none(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        clean_name(name)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "there are no pairs"),
        ("[]", ":1: the line is not a JSON object"),
        ('{"id": "a", "prompt": "q", "first": "x"}', ":1: `second` is missing"),
        ('{"id": "a", "prompt": "q", "first": "x", "second": "y", "model": "z"}', ':1: unknown key "model"'),
        ('{"id": "a", "prompt": [], "first": "x", "second": "y"}', ":1: `prompt` must be"),
        ('{"id": "a", "prompt": [{"role": "tool", "content": ""}], "first": "x", "second": "y"}', ":1: `prompt` must"),
        ('{"id": "a", "prompt": "q", "first": 1, "second": "y"}', ":1: `first` must be text"),
        ('{"id": "a", "prompt": "q", "first": "x", "second": "y"}\n' * 2, 'two pairs have the id "a"'),
    ],
)
def test_pairs_that_cannot_be_read(tmp_path: Path, lines: str, words: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(lines)
    with pytest.raises(UserError) as raised:
        read_pairs(path)
    assert words in str(raised.value) and str(path) in str(raised.value)


def test_pairs_are_read_back(folder: Path, pairs: list[RatedPair], tmp_path: Path) -> None:
    assert read_pairs(folder / "pairs.jsonl") == pairs
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"id": "a", "prompt": "q", "first": "x", "second": ""}) + "\n\n")
    (pair,) = read_pairs(path)
    assert (pair.prompt[0].role, pair.prompt[0].content, pair.second) == ("user", "q", "")
