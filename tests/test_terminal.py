"""Nothing that a file, a model or a name holds acts on the terminal, whatever prints it."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from preflab.cli import main
from preflab.terminal import Terminal, guarded

HOSTILE = "\x1b[2J\x1b]0;title\x07 \x9b31m \u202e \x08 é"


def test_all_ways_to_print(capsys: pytest.CaptureFixture[str]) -> None:
    """`print`, a logger's line, rich's console, a table's cell and a bar: control characters are written out. Rich's own
    colour, and the return of a bar of progress on standard error, act."""
    with guarded():
        print(HOSTILE)
        print(f"50%\r{HOSTILE}", file=sys.stderr)
        logging.StreamHandler().emit(logging.LogRecord("x", 30, "", 0, HOSTILE, None, None))
        Terminal(force_terminal=True, color_system="standard", width=200).print(
            HOSTILE, style="red", markup=False, highlight=False
        )
        Terminal(stderr=True, width=200).rule(HOSTILE)
    out, err = capsys.readouterr()
    assert out.count("\x1b") == 2 and "\x1b[31m⟨U+001B⟩" in out and out.count("⟨U+001B⟩") == 4
    assert "50%\r" in err and err.count("\r") == 1
    for text in (out.replace("\x1b[31m", "").replace("\x1b[0m", ""), err):
        assert not {letter for letter in text if ord(letter) < 32 or 126 < ord(letter) < 160} - {"\n", "\r"}
        assert "\u202e" not in text and "é" in text
    print("after")
    assert capsys.readouterr().out == "after\n"


@pytest.mark.parametrize("words", [["data", "show", "jsonl", "--data"], ["data", "jsonl", "--data"]])
def test_a_hostile_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """Its ids, levels and texts are printed, and its faults, without an escape sequence."""
    good = {"id": HOSTILE, "level": HOSTILE, "prompt": HOSTILE, "completion": HOSTILE}
    rows = [good | {"id": f"{HOSTILE}{n}", "prompt": f"{HOSTILE}{n}"} for n in range(30)]
    path = tmp_path / "\x1b[31m.jsonl"
    for last in (rows[0], {HOSTILE: 1}):
        path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, last]), encoding="utf-8")
        with pytest.raises(SystemExit):
            main([*words, str(path)])
        out, err = capsys.readouterr()
        assert "U+001B" in out + err and "\x1b" not in out + err
