"""`--json`: every command that prints results has it, and what it prints parses, alone on standard output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import require_feature

from preflab.cli import COMMANDS
from preflab.models.load import load_model
from preflab.models.spec import ModelSpec
from preflab.sandbox.bubblewrap import explain_absence

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


STUDY: dict[str, Any] = {
    "name": "small",
    "model": {"name": "tiny", "tiny": {"width": 8, "inner": 8, "layers": 1, "heads": 1}},
    "testbed": {"kind": "minicode", "train": 16, "validation": 4, "test": 4},
    "evaluator": "hidden-tests",
    "evaluation": {"samples": 1, "k": [1], "temperatures": [1.0], "validation_samples": 1, "max_new_tokens": 4}
    | {"look_prompts": 2, "look_samples": 1, "kl_samples": 2},
    "looks": 1,
    "arms": {"sft": {"method": {"kind": "sft", "epochs": 1, "batch_size": 8}}},
}


def test_a_plan_a_study_and_its_report_parse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`study --plan`, `study` and `report`: the plan's runs, then the results, which the report repeats."""
    file, directory = tmp_path / "small.json", tmp_path / "run"
    file.write_text(json.dumps(STUDY))

    def read(*words: str | Path) -> Any:
        code, out, _ = run(*words, "--json", capsys=capsys)
        assert code == 0
        return json.loads(out)

    words = ("study", file, "--seeds", "1", "--output", directory)
    plan = read(*words, "--plan")
    assert [(row["part"], row["name"], row["runs"], row["done"]) for row in plan["rows"]] == [("arm", "sft", 1, 0)]
    assert not directory.exists()
    results = read(*words)
    assert [arm["name"] for arm in results["arms"]] == ["sft"]
    assert read("report", directory) == results == json.loads((directory / "results.json").read_text())


def test_answers_and_the_theory_parse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`sample`, and `theory synthetic` of two seeds and few steps."""
    load_model(ModelSpec(name="tiny"), seed=0).save(tmp_path / "policy")
    capsys.readouterr()  # what saving the model prints
    words = ("sample", tmp_path / "policy", "--prompt", "x", "-k", "2", "--max-new-tokens", "4", "--json")
    code, out, _ = run(*words, capsys=capsys)
    record = json.loads(out)
    assert code == 0 and record["prompt"] == "x" and len(record["answers"]) == 2
    code, _, err = run("sample", tmp_path / "policy", "--json", capsys=capsys)
    assert code == 2 and "Give the prompt with --prompt" in err
    code, out, _ = run("theory", "synthetic", "--seeds", "2", "--steps", "3", "--json", capsys=capsys)
    assert code in (0, 1) and "verdict" in json.loads(out)


def test_verdicts_parse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`judge` counts the outcomes, and `testbed verify` prints what it writes."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    files = {name: tmp_path / f"{name}.jsonl" for name in ("problems", "programs", "out")}
    problem = {"problem_id": "p", "mode": "stdin", "hidden_tests": [{"input": "1", "output": "1"}]}
    files["problems"].write_text(json.dumps(problem) + "\n")
    sources = {"a": "print(input())", "b": "print(2)"}
    rows = [{"program_id": name, "problem_id": "p", "source": source} for name, source in sources.items()]
    files["programs"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = [word for name, file in files.items() for word in (f"--{name}", file)]
    code, out, _ = run("judge", *options, "--json", capsys=capsys)
    assert (code, json.loads(out)) == (0, {"passed": 1, "failed": 1})
    data, found = tmp_path / "data.jsonl", tmp_path / "found.json"
    record = {"task_id": 11, "text": "Add 1.", "code": "def f(x):\n    return x + 1", "test_list": ["assert f(1) == 2"]}
    data.write_text(json.dumps(record) + "\n")
    code, out, _ = run("testbed", "verify", "mbpp", "--data", data, "--out", found, "--json", capsys=capsys)
    assert code == 0 and json.loads(out) == json.loads(found.read_text())
    assert json.loads(out)["right programs"] == {"passed": 1}
