"""`preflab data show`: counts and prompts."""

from __future__ import annotations

import pytest

from .running import run


def test_data_in_both_spellings(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects scripts of `preflab data TESTBED`, the older spelling of `preflab data show TESTBED`: the output is the same."""
    words = ("minicode", "--show", "1")
    code, out, _ = run("data", "show", *words, capsys=capsys)
    assert code == 0
    assert "demonstrations" in out and "user:" in out
    assert run("data", *words, capsys=capsys) == (0, out, "")
