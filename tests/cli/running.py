"""Runs a command line as a user does."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflab.cli import main


def run(*words: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """The exit code, and what was printed on standard output and on standard error."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err
