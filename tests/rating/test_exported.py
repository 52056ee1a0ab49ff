"""Labels that a rater of an exported page sends back: checked before any of them is taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import UserError
from preflab.rating import RatedPair, export_page, import_labels, read_labels
from preflab.rating.folder import keep_pairs
from preflab.rating.order import is_exported_swapped, is_swapped
from preflab.rating.pairs import digest_pairs


@pytest.fixture
def sent(pairs: list[RatedPair]) -> dict[str, Any]:
    """What a rater sends who always finds the left answer better."""
    events = [
        {"pair": pair.id, "choice": "left", "swapped": is_swapped(pair.id, "ann"), "seconds": 2.0, "at": "now"}
        for pair in pairs
    ]
    return {"kind": "preflab labels", "export": digest_pairs(pairs), "rater": "ann", "events": events}


def write(path: Path, sent: Any) -> Path:
    path.write_text(sent if isinstance(sent, str) else json.dumps(sent))
    return path


def test_both_orders_are_undone(sent: dict[str, Any], pairs: list[RatedPair], folder: Path, tmp_path: Path) -> None:
    """The page stores the answers in one order and shows them in another; the label is that of the first answer."""
    assert import_labels(write(tmp_path / "sent.json", sent), folder) == 6
    digest = digest_pairs(pairs)
    wanted = {pair.id: float(is_exported_swapped(pair.id, digest) == is_swapped(pair.id, "ann")) for pair in pairs}
    assert {label.pair: label.outcome for label in read_labels(folder)} == wanted
    assert {0.0, 1.0} == {*wanted.values()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"export": "0" * 64}, "labels of another export"),
        ({"kind": "labels"}, "is not a file of labels"),
        ({"rater": "bob"}, "is not the order that bob saw"),
        ({"more": 1}, "is not a file of labels"),
        ({"rater": " "}, "name is empty"),
    ],
)
def test_files_that_are_refused(
    sent: dict[str, Any], folder: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words) as raised:
        import_labels(write(tmp_path / "sent.json", sent | change), folder)
    assert "\n" not in str(raised.value) and read_labels(folder) == []


@pytest.mark.parametrize(
    ("place", "change", "words"),
    [
        (5, {"pair": "p99"}, 'labels the pair "p99", which is not among'),
        (5, {"pair": "p0", "swapped": None}, "has a label already"),
        (0, {"choice": "undo"}, "undoes an event that is not the last event"),
        (2, {"choice": "best"}, "is not a file of labels"),
        (2, {"seconds": -1}, "is not a file of labels"),
    ],
)
def test_events_that_are_refused(
    sent: dict[str, Any], folder: Path, tmp_path: Path, place: int, change: dict[str, Any], words: str
) -> None:
    """One wrong event refuses the file: no part of it is taken."""
    sent["events"][place] |= change
    if sent["events"][place]["swapped"] is None:
        sent["events"][place]["swapped"] = is_swapped("p0", "ann")
    with pytest.raises(UserError, match=words):
        import_labels(write(tmp_path / "sent.json", sent), folder)
    assert read_labels(folder) == []


def test_a_later_file_adds_what_is_new(sent: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    """The same file twice adds nothing; labels that contradict those of the same name are refused."""
    some = sent | {"events": sent["events"][:2]}
    assert import_labels(write(tmp_path / "some.json", some), folder) == 2
    assert import_labels(write(tmp_path / "all.json", sent), folder) == 4
    assert import_labels(tmp_path / "some.json", folder) == 0
    sent["events"][0]["choice"] = "right"
    with pytest.raises(UserError, match="has other labels of ann"):
        import_labels(write(tmp_path / "other.json", sent), folder)
    assert len(read_labels(folder)) == 6


def test_nonsense_is_refused(sent: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    for text in ("", "[]", "{", "[" * 100_000, '{"kind": 1, "kind": 2}'):
        with pytest.raises(UserError):
            import_labels(write(tmp_path / "sent.json", text), folder)
    with pytest.raises(UserError, match="cannot be read"):
        import_labels(tmp_path / "absent.json", folder)
    with pytest.raises(UserError, match="contains no rating"):
        import_labels(write(tmp_path / "sent.json", sent), tmp_path / "nothing")


def test_the_source_does_not_say_which_is_first(pairs: list[RatedPair], tmp_path: Path) -> None:
    """The exported file is the same each time, and stores some second answers first."""
    for name in ("one.html", "two.html"):
        export_page(pairs, tmp_path / name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    page = (tmp_path / "one.html").read_text()
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    first = [pair["answers"][0].startswith("first") for pair in data["pairs"]]
    assert any(first) and not all(first)
    assert "http://" not in page and "https://" not in page
    other = [*pairs[:-1], RatedPair("p9", pairs[0].prompt, "x", "y")]
    keep_pairs(other, tmp_path / "other")
    assert digest_pairs(other) not in page
