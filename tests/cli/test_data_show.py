"""`preflab data show`: counts and prompts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .running import run


def test_data_in_both_spellings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects scripts of `preflab data TESTBED`, the older spelling of `preflab data show TESTBED`: the output is the same."""
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"a {n}", "completion": "b"}) + "\n" for n in range(300)))
    words = ("jsonl", "--data", file, "--show", "1")
    code, out, _ = run("data", "show", *words, capsys=capsys)
    assert code == 0
    assert "demonstrations" in out and "user:" in out
    assert run("data", *words, capsys=capsys) == (0, out, "")


def test_what_is_read_of_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects `--split`, `--rows` and `--part`, the same settings as `--testbed.SETTING`, and says where they do not apply."""
    for split in ("train", "extra"):
        lines = [json.dumps({"prompt": f"{split} {n}", "completion": "a"}) for n in range(300)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    show = ("data", "show", "jsonl", "--data", tmp_path, "--show", "1")
    code, whole, _ = run(*show, capsys=capsys)
    assert code == 0 and "user: train" in whole
    _, extra, _ = run(*show, "--split", "extra", "--rows", "100", capsys=capsys)
    assert "user: extra" in extra and extra != whole
    parts = [run(*show, "--part", part, capsys=capsys)[1] for part in ("policy", "evaluator")]
    assert len({whole, *parts}) == 3
    _, fewer, _ = run(*show, "--testbed.rows", "100", "--testbed.split", "extra", capsys=capsys)
    assert fewer == extra
    for words, complaint in (
        (("jsonl", "--data", tmp_path, "--testbed.row", "3"), "has no option '--testbed.row'"),
        (("minicode", "--rows", "3"), "brings its own data: --rows does not apply"),
        (("mbpp", "--data", "x", "--split", "test"), "has no `split`: --split does not apply"),
    ):
        code, _, err = run("data", "show", *words, capsys=capsys)
        assert code == 2 and complaint in err
