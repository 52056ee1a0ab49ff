"""`preflab study`, `preflab studies`: plans, and study files that are refused."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from preflab import api, report
from preflab.analysis.record import ArmResult, Results, SharedBudget, StudyVerdict, Subject, known_measure
from preflab.api import StudyOutcome
from preflab.cli.plan import format_plan
from preflab.report import print_summary
from preflab.study.forecast.make import Forecast, ForecastRow
from preflab.study.load import load_study, preset_names
from preflab.study.spec import Study
from preflab.terminal import Terminal

from .running import run


@pytest.mark.parametrize("text", ["alpaca.json", "sft-alpaca=", "=alpaca.json"])
def test_stage_data_needs_a_stage_and_a_path(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects `--stage-data` from half a value, which would leave the stage with the data of the hub."""
    code, _, err = run("study", "saferlhf", "--size", "smoke", "--stage-data", text, "--plan", capsys=capsys)
    assert code != 0 and "is not STAGE=PATH, such as sft-alpaca=path/to/alpaca.json" in err


def test_studies_and_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects what a newcomer asks first: the presets with a line each, and a JSON Schema with every variant."""
    code, out, _ = run("studies", capsys=capsys)
    assert code == 0
    lines = {line.split()[0]: line.strip() for line in out.splitlines()}
    assert set(lines) == set(preset_names())
    assert all(
        line.endswith((".", "?")) for line in lines.values()
    )  # no sentence is cut, and in a pipe none is wrapped
    assert lines["apps"].endswith("--model takes any causal language model, --data the path of APPS.")
    code, out, _ = run("studies", "--schema", capsys=capsys)
    schema = json.loads(out)
    assert code == 0
    assert "method:ppo" in schema["$defs"]
    assert schema["$defs"]["method:ppo"]["properties"]["clip"]["default"] == 0.2


def test_a_table_in_a_pipe_is_not_wrapped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects scripts that read the table of a study: each arm keeps its line, however long, where nobody watches; a terminal
    has its own width."""
    monkeypatch.setenv("COLUMNS", "80")
    name = "a-long-name-" * 12
    arm = ArmResult(name=name, method="dpo")
    results = Results(
        study="long", question="", model=Subject(name="tiny"), testbed=Subject(name="minicode"), seeds=(0,),
        budget=SharedBudget(binding="none"), metrics=(known_measure("pass@1"),), headline="pass@1", arms=(arm,),
        verdict=StudyVerdict(sentence="Nothing is decided, which is said in a sentence of more than eighty letters. " * 2),
    )  # fmt: skip
    print_summary(results, Terminal(wide=True))
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(name) for line in lines) and results.verdict.sentence.strip() in lines
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert Terminal(wide=True).width == 80


@pytest.mark.parametrize(
    ("manifest", "said"),
    [("{", "is damaged"), ('{"name": "theirs"}', "not the manifest of a study"), ("[]", "is damaged")],
)
def test_a_plan_is_refused_where_its_run_would_be(
    manifest: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects from a plan that promises what the study then refuses: a directory whose `study.json` is another's."""
    (tmp_path / "study.json").write_text(manifest)
    code, _, err = run("study", "quickstart", "--plan", "--output", tmp_path, capsys=capsys)
    assert code == 2
    assert said in err
    assert (tmp_path / "study.json").read_text() == manifest


def test_unknown_keys_are_refused_at_every_depth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects study files from options that nobody reads, deep inside too."""
    file = tmp_path / "mine.yaml"
    text = "name: x\ntestbed: minicode\narms:\n  a: {method: {kind: dpo, optim: {learning_rat: 1}}}\n"
    file.write_text(text)
    code, _, err = run("study", file, capsys=capsys)
    assert code == 2
    assert "learning_rat" in err and "Did you mean 'learning_rate'" in err
    file.write_text(
        "name: x\ntestbed: minicode\nams: {}\narms: {a: {method: dpo, init: 'stage:sfft'}}\nstages: {sft: {method: sft}}\n"
    )
    code, _, err = run("study", file, capsys=capsys)
    assert code == 2
    assert "ams" in err


def test_a_stage_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects a study from a reference into the void."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: x\ntestbed: minicode\narms: {a: {method: dpo, init: 'stage:sfft'}}\nstages: {sft: {method: sft}}\n"
    )
    code, _, err = run("study", file, capsys=capsys)
    assert code == 2
    assert "Did you mean 'sft'" in err


def test_what_is_printed_when_a_study_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects scripts: the summary, then the report's place on standard output; each failure on standard error, with exit
    code 1. The options reach the study, and the command that the report names leaves --fresh and --import out."""
    calls: list[dict[str, Any]] = []

    def run_study(study: Study, directory: Path, **options: Any) -> StudyOutcome:
        calls.append({"arms": list(study.arms), "seeds": study.seeds, "directory": directory, **options})
        failures = ("dpo, seed 1: out of memory",) if options["fresh"] else ()
        return StudyOutcome(cast(Results, None), directory / "report.html", failures)

    monkeypatch.setattr(api, "run_study", run_study)
    monkeypatch.setattr(report, "print_summary", lambda results, console: print("the summary"))
    words = ("study", "smoke", "--arms", "dpo", "--seeds", "2", "--output", tmp_path, "--no-samples")
    assert run(*words, capsys=capsys) == (0, f"the summary\nReport: {tmp_path / 'report.html'}\n", "")
    code, _, err = run(*words, "--fresh", "--import", "a", "b", "-q", capsys=capsys)
    assert (code, err) == (1, "FAILED: dpo, seed 1: out of memory\n")
    command = shlex.join(["preflab", *map(str, words)])
    assert calls[0] == {
        "arms": ["dpo"],
        "seeds": 2,
        "directory": tmp_path,
        "command": command,
        "archives": (),
        "on": None,
        "tune": False,
        "fresh": False,
        "samples": False,
        "quiet": False,
    }
    assert calls[1] == {
        **calls[0],
        "archives": ["a", "b"],
        "command": f"{command} -q",
        "fresh": True,
        "quiet": True,
    }


def test_a_plan_in_words() -> None:
    """Protects the numbers of a plan: 4 runs of 90 s (1.5 min), 2 at a time, 1 done: 3 x 90 / 2 = 135 s = .04 h."""
    forecast = Forecast((ForecastRow("stage", "sft", "sft", 4, 1, 90.0),), at_once=2, seconds=135.0)
    lines = format_plan(load_study("smoke").model_copy(update={"tuning": None}), forecast).splitlines()
    assert lines[2].split() == ["stage", "sft", "sft", "4", "seeds,", "1", "done,", "about", "1.5", "min", "each"]
    assert lines[-1] == "  4 runs, 2 at a time: about 0.04 hours on this machine."
    with_looks = replace(forecast, look_seconds={5: 1800.0, 8: 2880.0})
    lines = format_plan(load_study("smoke").model_copy(update={"tuning": None}), with_looks).splitlines()
    assert lines[-1] == "  The study can stop at a look: after 5 seeds, 0.50 hours; after 8 seeds, 0.80 hours."


def test_a_plan_says_what_it_does_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects people who plan by the clock: a preference judge takes a time that nobody has measured."""
    study = {
        "name": "judged",
        "testbed": {"kind": "minicode", "train": 20, "validation": 4, "test": 4},
        "arms": {name: {"method": "sft"} for name in "ab"},
        "pairwise": {"liked": {"evaluator": {"kind": "preference-judge", "judge": "local:tiny"}, "against": "a"}},
    }
    file = tmp_path / "judged.json"
    file.write_text(json.dumps(study))
    code, out, err = run("study", file, "--output", tmp_path / "out", "--plan", capsys=capsys)
    assert code == 0, err
    assert "Not counted, because its time is not known: the replies of a preference judge." in out


@pytest.mark.parametrize("words", [(), ("--plan",)])
def test_a_study_that_cannot_run_names_its_file(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with an arm shows only when the study is planned: the message begins with the study's file."""
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(f'{{"prompt": "{n}", "completion": "b"}}\n' for n in range(40)))
    file = tmp_path / "mine.json"
    testbed = {"kind": "jsonl", "data": str(data)}
    file.write_text(json.dumps({"name": "mine", "testbed": testbed, "arms": {"sft": {"method": "sft"}}}))
    code, _, err = run("study", file, "--output", tmp_path / "out", *words, capsys=capsys)
    assert code == 2
    assert err.startswith(f"preflab: {file}: `sft` has no model to start from.")
