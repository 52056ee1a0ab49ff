"""`preflab rate` beside its page: export, import and summary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preflab.rating.events import make_event
from preflab.rating.folder import open_store

from .running import run


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [{"id": f"p{n}", "prompt": "ask", "first": f"a{n}", "second": f"b{n}"} for n in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_summary(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The summary counts labels, says what is not known yet, and is JSON alone with `--json`."""
    folder = tmp_path / "out"
    code, out, _ = run("rate", pairs, "--output", folder, "--summary", capsys=capsys)
    assert (code, out) == (0, "There is no label yet for 4 pairs.\n")
    with open_store(folder) as store:
        for rater in ("ann", "bob"):
            store.add(rater, [make_event("p0", "left", swapped=False, seconds=2.0)])
    _, out, _ = run("rate", "--output", folder, "--summary", capsys=capsys)
    assert "2 labels for 1 of 4 pairs (ann 1, bob 1); median 2 s" in out and "one prompt has no interval" in out
    _, out, _ = run("rate", "--output", folder, "--summary", "--json", capsys=capsys)
    assert json.loads(out)["raters"] == {"ann": 1, "bob": 1}


def test_export_and_import(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, page = tmp_path / "out", tmp_path / "page.html"
    code, out, err = run("rate", pairs, "--output", folder, "--export", page, "--question", "Safer?", capsys=capsys)
    assert code == 0 and out == "" and "4 pairs" in err and '"question": "Safer?"' in page.read_text()
    code, _, err = run("rate", "--output", folder, "--import", page, capsys=capsys)
    assert code == 2 and "is not JSON" in err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--summary", "--export", "x.html"], "Give one of them"),
        (["--port", "x"], "--port"),
        (["--rater", "\x1b"], "seen"),
    ],
)
def test_mistakes(pairs: Path, tmp_path: Path, more: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("rate", pairs, "--output", tmp_path / "out", *more, capsys=capsys)
    assert code == 2 and words in err and err.count("\n") == 1


def test_a_folder_without_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("rate", "--output", tmp_path / "none", "--summary", capsys=capsys)
    assert code == 2 and "contains no rating" in err
