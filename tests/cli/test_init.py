"""`preflab init`: what it writes is a study that passes `--plan`, for data with pairs, with tests and with answers alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.study.check import check_study
from preflab.study.first_file import FirstStudy, inspect_data
from preflab.study.load import load_study

from .running import run

PAIR = {"chosen": "it is so", "rejected": "no"}
TESTED = {"tests": [{"input": "1", "output": "1"}], "completion": "print(input())"}


def write_data(tmp_path: Path, row: dict[str, Any]) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Say {number}"} | row) + "\n" for number in range(120)))
    return path


@pytest.mark.parametrize(
    ("row", "arms", "evaluators"),
    [
        (PAIR, ["dpo", "ppo", "more-sft", "sft"], ["reward-model"]),
        (TESTED, ["ppo", "more-sft", "sft"], ["hidden-tests"]),
    ],
    ids=["pairs", "tests"],
)
def test_what_it_writes_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: dict[str, Any], arms: list[str], evaluators: list[str]
) -> None:
    """Every part of the study is opened; the arms and the evaluator follow from the data."""
    file = tmp_path / "studies" / "mine.yaml"
    code, out, _ = run("init", "--data", write_data(tmp_path, row), "--model", "tiny", "--output", file, capsys=capsys)
    assert code == 0 and f"preflab study {file} --plan" in out
    study = load_study(str(file))
    check_study(study, tmp_path / "run")
    assert study.name == "mine" and list(study.arms) == arms and list(study.evaluators) == evaluators
    assert file.read_text().count("\n# ") >= 6


def test_pairs_are_parted_between_policies_and_evaluator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No arm learns from the pairs that the evaluator is trained on."""
    file = tmp_path / "mine.yaml"
    run("init", "--data", write_data(tmp_path, PAIR), "--model", "tiny", "--output", file, capsys=capsys)
    study = load_study(str(file))
    assert (study.testbed.part, study.stages["evaluator"].testbed.part) == ("policy", "evaluator")


def test_solutions_beside_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects from "no tests" about MBPP's records, whose solutions are answers too; tests that no program passes in the
    sandbox are no hindrance if a reward model judges."""
    data = tmp_path / "mbpp.jsonl"
    mbpp = [
        {
            "task_id": n,
            "text": f"Add {n}.",
            "code": f"def f(x):\n    return x + {n}",
            "test_list": [f"assert f(1) == {n + 1}"],
        }
        for n in range(40)
    ]
    data.write_text("".join(json.dumps(record) + "\n" for record in mbpp))
    assert inspect_data(FirstStudy("x", str(data), "tiny")).judged == "tests"
    sums = write_data(tmp_path, {"completion": "4", "tests": [{"input": None, "output": 4}]})
    assert inspect_data(FirstStudy("x", str(sums), "tiny", "rm")).judged == "neither"
    code, _, err = run("init", "--data", sums, "--model", "tiny", "--output", tmp_path / "x.yaml", capsys=capsys)
    assert code == 2 and "with `judge: sandbox`" in err


@pytest.mark.parametrize(
    ("stem", "name"),
    [("mein Versuch (2)", "mein-Versuch-2"), (".hidden", "hidden"), ("学习", "study"), ("a" * 120, "a" * 100)],
)
def test_an_odd_file_name_gives_a_name_that_is_taken(
    stem: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the next command, which refuses a study with blanks in its name; a name of the user's own is refused at once."""
    data, file = write_data(tmp_path, PAIR), tmp_path / f"{stem}.yaml"
    code, _, _ = run("init", "--data", data, "--model", "tiny", "--output", file, capsys=capsys)
    assert code == 0 and load_study(str(file)).name == name
    words = ("init", "--data", data, "--model", "tiny", "--output", tmp_path / "b.yaml", "--name", "a b")
    code, _, err = run(*words, capsys=capsys)
    assert code == 2 and "'a b'" in err and not (tmp_path / "b.yaml").exists()


def test_what_it_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Answers that nothing judges, a file that is there, and a question that nobody can be asked: each in one line."""
    answers = write_data(tmp_path, {"completion": "it is so"})
    there = tmp_path / "there.yaml"
    there.write_text("mine")
    cases = [
        (["--data", answers, "--model", "tiny", "--output", tmp_path / "a.yaml"], "no pairs and no tests"),
        (["--data", answers, "--model", "tiny", "--output", there], "exists already"),
        (["--model", "tiny", "--output", tmp_path / "b.yaml"], "needs a value for --data"),
    ]
    for words, said in cases:
        code, _, err = run("init", *words, capsys=capsys)
        assert code == 2 and said in err and len(err.splitlines()) == 1
    assert there.read_text() == "mine"


def test_it_asks_for_what_no_option_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the newcomer at a terminal: the data and the model are asked for, and the same file is written as by options; an
    empty answer, and a pipe that nobody can answer, are refused with the option's name."""
    data, asked, told = write_data(tmp_path, PAIR), tmp_path / "asked" / "mine.yaml", tmp_path / "told" / "mine.yaml"
    typed = iter([f" {data} ", "tiny", ""])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt="": next(typed))
    code, out, _ = run("init", "--output", asked, capsys=capsys)
    assert code == 0 and "Your data" in out and "The model to train" in out
    run("init", "--data", data, "--model", "tiny", "--output", told, capsys=capsys)
    assert asked.read_text() == told.read_text()
    code, _, err = run("init", "--output", tmp_path / "b.yaml", capsys=capsys)
    assert code == 2 and "needs a value for --data" in err and not (tmp_path / "b.yaml").exists()
