"""Several evaluators a study: what a file may say, what old files mean, and the documented evaluator at work."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from preflab.analysis.record import read_results
from preflab.arm.spec import Arm
from preflab.cli import run_command
from preflab.errors import UserError
from preflab.evaluation.base import EvaluatorSpec
from preflab.evaluation.measure import Measure
from preflab.evaluation.settings import Evaluation
from preflab.spec import parse_spec, read_spec
from preflab.study.spec import Study
from preflab.train.files import write_json

PLAIN: dict[str, Any] = {"name": "plain", "testbed": "minicode", "arms": {"sft": {"method": "sft"}}}
REWARD = {"kind": "reward-model", "model": {"path": "runs/rm/final"}}
BOTH = {"hidden-tests": "hidden-tests", "liked": REWARD}


class Longer(EvaluatorSpec):
    """Its first measure is better when lower."""

    kind: str = "longer"

    def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
        return (Measure(name="words", better="lower"),)

    def open(self, context: Any) -> Any:
        raise NotImplementedError("only its measures are read")


class Two(Longer):
    """Its second measure can decide a study, its first cannot choose."""

    def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
        return (*super().measures(evaluation), Measure(name="short", better="higher"))


class Turned(Two):
    """Its first measure can choose, its second cannot decide a study."""

    def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
        return super().measures(evaluation)[::-1]


class Clash(Longer):
    """Its measure has the name of one that every policy has."""

    def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
        return (Measure(name="length", better="higher"),)


class Twice(Longer):
    """Two of its measures have one name."""

    def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
        return (Measure(name="short", better="higher"),) * 2


def study(**changes: Any) -> Study:
    return parse_spec(Study, {**PLAIN, **changes}, where="mine.yaml")


def test_one_evaluator_is_short_for_a_mapping() -> None:
    """Protects every study and run file of before: `evaluator: X` means `{KIND: X}`, null means no measuring, and a study
    that says nothing is measured by hidden tests."""
    assert study(evaluator=REWARD) == study(evaluators={"reward-model": REWARD})
    assert list(study().evaluators) == ["hidden-tests"] and study().score == "pass@1"
    arm = {"name": "a", "testbed": "minicode"}
    assert parse_spec(Arm, {**arm, "evaluator": None}, where="").evaluators == {}
    assert list(parse_spec(Arm, {**arm, "evaluator": "hidden-tests"}, where="").evaluators) == ["hidden-tests"]


def test_a_spec_without_a_kind_has_the_name_of_its_class() -> None:
    """Protects the name of an evaluator of one's own, under which `evaluator: X` keeps it."""

    class Plain(EvaluatorSpec):
        def open(self, context: Any) -> Any:
            raise NotImplementedError("only its name is read")

    assert (Plain().kind_name, Longer().kind_name) == ("Plain", "longer")


def test_the_order_survives_a_file(tmp_path: Path) -> None:
    """Protects the first evaluator, whose measures have plain names: files are written with sorted keys, and the order
    counts."""
    spec = study(evaluators={"z": "hidden-tests", "a": REWARD})
    write_json(tmp_path / "study.json", spec.model_dump(mode="json"))
    again = read_spec(Study, tmp_path / "study.json")
    assert again == spec and list(again.evaluators) == ["z", "a"]
    assert [[measure.name for measure in row] for row in again.measures.values()] == [
        ["pass@1", "pass@5"],
        ["a/reward"],
    ]


def test_the_headline_decides_who_chooses() -> None:
    """Protects the choice of temperatures: by the first measure of the evaluator whose measure is the headline."""
    assert (study(evaluators=BOTH).main_evaluator, study(evaluators=BOTH).score) == ("hidden-tests", "pass@1")
    liked = study(evaluators=BOTH, headline="liked/reward")
    assert (liked.main_evaluator, liked.score) == ("liked", "liked/reward")
    assert study(evaluators=BOTH, headline="pass@5").score == "pass@1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"headline": "pass@7"}, r"`headline` is 'pass@7', which is not measured.*pass@"),
        ({"evaluators": BOTH, "headline": "reward"}, "Did you mean 'liked/reward'|which is not measured"),
        ({"evaluators": {}}, "`evaluators` is empty"),
        ({"evaluators": [["a", "hidden-tests"], ["a", REWARD]]}, "the name 'a' occurs twice"),
        ({"evaluators": BOTH, "evaluator": "hidden-tests"}, "Both `evaluators` and `evaluator` are given"),
        ({"evaluators": {"a": "hiden-tests"}}, "Did you mean 'hidden-tests'"),
        (
            {"evaluators": {"a": {"kind": f"{__name__}:Longer"}}},
            "'words' does not declare that higher is better, but it chooses temperatures.*first measure of the evaluator 'a'",
        ),
        (
            {"evaluators": {"a": {"kind": f"{__name__}:Two"}}, "headline": "short"},
            "'words' does not declare that higher is better, but it chooses temperatures.*first measure of the evaluator 'a'",
        ),
        (
            {"evaluators": {"a": {"kind": f"{__name__}:Turned"}}, "headline": "words"},
            "'words' does not declare that higher is better, but it is the headline.*'short' chooses",
        ),
        (
            {"evaluators": {"a": {"kind": f"{__name__}:Clash"}}},
            "evaluator 'a' declares the measure 'length', but preflab itself measures 'length'.*other than score, length",
        ),
        ({"evaluators": {"a": {"kind": f"{__name__}:Twice"}}}, "Two measures are called 'short'"),
        ({"evaluators": {"a": {**REWARD, "model": {"path": "stage:rm"}}}}, "`evaluators` names the stage 'rm'"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, Any], words: str) -> None:
    """Protects from an error after hours of training: each mistake is one message that names what is wrong."""
    with pytest.raises(UserError, match=words):
        study(**changes)


def blocks(repository: Path, language: str, heading: str) -> list[str]:
    """The code blocks of a section of docs/extend.md."""
    text = (repository / "docs" / "extend.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)


def test_the_documented_evaluator_works(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Protects whoever pastes the documentation: its evaluator measures a study beside the hidden tests and decides it,
    and measures one policy from the command line; each prompt's number of words is a number above 0. The study's report
    is the same where the evaluator's file is gone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (code,) = blocks(repository, "python", "An evaluator")
    (tmp_path / "my_eval.py").write_text(code)
    (text,) = blocks(repository, "yaml", "An evaluator")
    (tmp_path / "brief.yaml").write_text(text)
    small = yaml.safe_load(text)["testbed"]
    assert run_command(["study", "brief.yaml", "--output", "runs/brief", "-q"]) == 0, capfd.readouterr().err
    results = read_results(tmp_path / "runs/brief/results.json")
    assert (results.headline, results.score) == ("brevity/short", "brevity/short")
    assert [evaluator.name for evaluator in results.evaluators] == ["hidden-tests", "brevity"]
    values = {(row.metric, row.level): row.value for row in results.arms[0].measures if row.decoding == "chosen"}
    assert values["brevity/words", ""].problems == small["test"] and (values["brevity/words", ""].low or 0) > 0
    assert values["pass@1", ""].seeds == 2
    page = (tmp_path / "runs/brief/report.html").read_text()
    assert "brevity/short answers" in page and "brevity/words (words)" in page
    result = json.loads((tmp_path / "runs/brief/seed-0/once/result.json").read_text())
    problem = next(iter(result["evaluation"]["chosen"]["problems"].values()))
    assert problem["measures"]["brevity/short"] == sum(problem["scores"]) / 4
    (tmp_path / "my_eval.py").rename(tmp_path / "away.txt")
    monkeypatch.delitem(sys.modules, "my_eval")
    assert run_command(["report", "runs/brief"]) == 0, capfd.readouterr().err
    assert read_results(tmp_path / "runs/brief/results.json") == results
    assert (tmp_path / "runs/brief/report.html").read_text() == page
    (tmp_path / "away.txt").rename(tmp_path / "my_eval.py")
    command = [
        "evaluate",
        "runs/brief/seed-0/once/final",
        "--evaluator",
        "my_eval:Brevity",
        "--samples",
        "1",
        "--k",
        "1",
    ]
    assert run_command([*command, "--max-new-tokens", "8"]) == 0
    assert "words" in capfd.readouterr().out
