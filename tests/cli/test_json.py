"""`--json`: every command that prints results has it, and what it prints parses, alone on standard output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.cli import COMMANDS

from .running import run

RESULTLESS = {"init"}
"""Commands that print no result but where they wrote."""


def test_every_command_has_it() -> None:
    missing = {name for name, command in COMMANDS.items() if "--json" not in command.parser().format_help()}
    assert missing == RESULTLESS


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["studies"], "quickstart"),
        (["models", "list"], "smollm2"),
        (["data", "show", "minicode", "--show", "1"], "records"),
        (["theory", "counterexample"], "verdict"),
        (["theory", "check", "--trials", "20"], "verdict"),
    ],
)
def test_what_is_printed_parses(words: list[str], key: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(*words, "--json", capsys=capsys)
    assert code == 0
    assert key in json.loads(out)


def test_runs_and_studies_parse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`train`, `evaluate` (without an evaluator), `study --plan` of a small study, with progress on standard error alone."""

    def read(*words: str | Path) -> Any:
        code, out, _ = run(*words, "--json", capsys=capsys)
        assert code == 0
        return json.loads(out)

    data = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"ask {number}", "chosen": "good", "rejected": "bad more"} for number in range(40)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = ["--testbed", "jsonl", "--data", str(data), "--max-new-tokens", "4", "--device", "cpu"]
    trained = read("train", "sft", *own, "--model", "tiny", "--epochs", "1", "--output", tmp_path / "run")
    assert trained["method"] == "sft" and trained["directory"] == str(tmp_path / "run")
    measured = read("evaluate", tmp_path / "run" / "final", *own, "--output", tmp_path / "measured")
    assert measured["held_out"]["loss"] > 0


def test_summaries_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """`preflab studies` showed the first line of a comment of two, cut in the middle of its sentence."""
    _, out, _ = run("studies", capsys=capsys)
    assert (
        "and --size paper is the full study. --model takes any causal language model, --data the path of APPS." in out
    )
