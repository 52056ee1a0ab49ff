"""Records that show whether they are as they were written, and what a run has journalled."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from preflab.errors import UserError
from preflab.meter import Meter
from preflab.train.journal import Journal
from preflab.train.sealed import read_sealed, write_sealed

DATA = {"counts": {"flops": 1.5, "2": None, "10": [True, "é"]}, "diverged": None}


def test_a_record_comes_back(tmp_path: Path) -> None:
    """Protects every record: what is read is what was written; a number as a key is read as JSON has it, a text."""
    path = tmp_path / "result.json"
    write_sealed(path, {**DATA, "seeds": {2: "b", 10: "a"}})
    assert read_sealed(path, {"counts": dict}) == {**DATA, "seeds": {"2": "b", "10": "a"}}


def reading(path: Path) -> Any:
    """What the record says, or the beginning of the line that refuses it."""
    try:
        record = read_sealed(path, {"counts": dict})
    except UserError as error:
        return f"{error}".partition(":")[0] if len(f"{error}".splitlines()) == 1 else "several lines"
    return {name: record.get(name) for name in DATA}


def test_every_flipped_bit_is_seen(tmp_path: Path) -> None:
    """Protects numbers: whichever bit of the file is flipped, the record is refused in one line, or what it says is the same
    (a space; the name of the seal itself)."""
    path = tmp_path / "result.json"
    write_sealed(path, DATA)
    whole = path.read_bytes()
    for place in range(8 * len(whole)):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(bytes(data))
        assert reading(path) in (DATA, f"{path} is damaged"), place


def test_a_record_under_anothers_name_is_damaged(tmp_path: Path) -> None:
    """Protects from swapped files: each is whole, and lies in the other's place."""
    write_sealed(tmp_path / "a.json", DATA)
    (tmp_path / "a.json").rename(tmp_path / "b.json")
    with pytest.raises(UserError, match=r"b\.json is damaged: its content does not match its seal"):
        read_sealed(tmp_path / "b.json", {})


@pytest.mark.parametrize(
    "text", ["[]", "5", "null", '"a"', "{}", '{"counts": 5}', "[" * 100_000, '{"a": ' * 50_000, ""]
)
def test_another_form_is_one_line(tmp_path: Path, text: str) -> None:
    """Protects from tracebacks: JSON of another form, too deep, or none at all."""
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"result\.json is damaged.*--fresh") as refused:
        read_sealed(path, {"counts": dict})
    assert len(f"{refused.value}".splitlines()) == 1
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"result\.json is damaged"):
        read_sealed(path, {"counts": dict})


# -- the journal ----------------------------------------------------------------------------------------------------------


def journal(directory: Path, state: dict[str, Any] | None = None) -> Journal:
    record: Any = SimpleNamespace(samples=[], verdicts=Counter[str]())
    directory.mkdir(exist_ok=True)
    opened = Journal(directory, Meter(), record)
    if state is not None:
        opened.load_state_dict(state)
    return opened


def never() -> Any:
    raise AssertionError("the entry was there")


def test_a_damaged_entry_is_made_again_with_what_follows(tmp_path: Path) -> None:
    """Protects from pairing answers with another past: the second of three entries is damaged and comes out differently, so
    the third, which is whole, is not read; the first is."""
    first = journal(tmp_path)
    assert [first.replay(name, lambda value=value: value) for value, name in enumerate("abc")] == [0, 1, 2]
    (tmp_path / "journal/b.json").write_text("{")
    again = journal(tmp_path)
    assert again.replay("a", never) == 0
    assert again.replay("b", lambda: 7) == 7
    assert again.replay("c", lambda: 8) == 8


def test_an_entry_that_comes_out_alike_keeps_what_follows(tmp_path: Path) -> None:
    """Protects answers that were paid for: the second entry is gone and is made again as it was."""
    first = journal(tmp_path)
    for value, name in enumerate("abc"):
        first.replay(name, lambda value=value: value)
    (tmp_path / "journal/b.json").unlink()
    again = journal(tmp_path)
    assert (again.replay("a", never), again.replay("b", lambda: 1), again.replay("c", never)) == (0, 1, 2)


@pytest.mark.parametrize("damage", ["gone", "cut", "another"])
def test_what_a_checkpoint_stands_on_must_stand(tmp_path: Path, damage: str) -> None:
    """Protects the steps that an entry led to: it is not drawn anew from a policy that has moved on."""
    first = journal(tmp_path)
    first.replay("a", lambda: 1)
    path = tmp_path / "journal/a.json"
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    else:
        other = journal(tmp_path / "other")
        other.replay("a", lambda: 2)
        path.write_bytes((tmp_path / "other/journal/a.json").read_bytes())
    again = journal(tmp_path, json.loads(json.dumps(first.state_dict())))
    with pytest.raises(UserError, match=r"a\.json"):
        again.check(first.state_dict())
    with pytest.raises(UserError, match=r"a\.json"):
        again.replay("a", never)
