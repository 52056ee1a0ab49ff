"""`result.json` as its readers get it: a record of a run or of a match, or one line that says which field is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.study.results.test_make import measured
from tests.written import written

from preflab.arm.result import MatchResult, MeasuredResult, ScorerResult, TrainedResult, result_class
from preflab.arm.spec import Arm
from preflab.errors import UserError
from preflab.spec import parse_spec
from preflab.train.finished import AnyResult, read_result
from preflab.train.sealed import write_sealed

PART = measured(0.5, 0)
ANSWER = {"problem": "p0", "prompt": "do it", "level": "easy", "text": "done", "truncated": False, "drawn": [[1, 2], 9]}
ANSWER |= {"score": 1.0, "outcome": "passed", "passed": [True], "detail": {"stdout": "1"}}
EVALUATION = {
    "temperature": 0.0,
    "validation": {"1.0": 0.5},
    "elsewhere": {"mini": {"q1": 1.0}},
    "inference": {"n": 1, "selector": "public-tests", "tokens_an_answer": 9.5},
    "chosen": PART,
    "unit": PART | {"kl": {"estimate": 1.5, "estimator": "k3", "entropy": None}},
    "samples": [ANSWER],
}
BIN = {"stated": 0.6, "right": 0.5, "count": 3}
PAIRS = {"pairs": 3, "accuracy": 0.5, "loss": 0.7, "calibration_error": 0.1, "score_mean": 0.0, "score_std": 1.0}
PAIRS |= {"unsafe_found": 0.5, "reliability": [BIN]}
MATCH = {"name": "m", "seed": 0, "first": "a", "second": "b", "diverged": None, "diverged_arms": []}
MATCH |= {"problems": {"p0": {"outcomes": [1.0, 0.5]}}, "left_out": 2, "details": {"judge": "j"}}


@pytest.mark.parametrize(
    ("record", "data"),
    [
        (MeasuredResult, written(evaluation=EVALUATION, ending=None, last={"step": 3, "updates": 2}, charged=0.0)),
        (
            TrainedResult,
            written(evaluation={"temperature": 0.0, "validation": {}, "validation_by_problem": {"p": 1.0}}),
        ),
        (TrainedResult, written(held_out={"loss": 1.5}, validation={"loss": 1.5, "kl": 0.0})),
        (ScorerResult, written(product="reward_model", held_out=None, validation=PAIRS)),
        (MatchResult, MATCH),
    ],
)
def test_what_is_read_is_what_was_written(tmp_path: Path, record: type[AnyResult], data: dict[str, Any]) -> None:
    """Protects the file's form: a record writes the very JSON from which it was read, whole numbers and absent fields
    included."""
    write_sealed(tmp_path / "result.json", data)
    again = read_result(tmp_path, record).as_data()
    assert json.dumps(again, sort_keys=True) == json.dumps(data, sort_keys=True)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("diverged", 5, "`diverged`: Input should be a valid string"),
        ("diverged", None, "`diverged` is missing"),
        ("counts.flops", None, "`counts.flops` is missing"),
        ("counts.flops", "1", "`counts.flops`: Input should be a valid number"),
        ("parameters", True, "`parameters`: Input should be a valid integer"),
        ("files", [], "`files`: Input should be a valid dictionary"),
        ("best", None, "`best` is missing, although the run did not diverge"),
        ("best.best_step", "last", "`best.best_step`: Input should be a valid integer"),
        ("evaluation", [], "`evaluation`: Input should be a valid dictionary"),
        ("evaluation.chosen", None, "`evaluation.chosen` is missing"),
        ("evaluation.chosen.measures.score", None, "`evaluation.chosen`: `measures` has no `score`"),
        ("evaluation.chosen.problems.p3.scores", None, "`evaluation.chosen.problems.p3.scores` is missing"),
        ("evaluation.unit.problems.p3.scores", [1.0, "x"], "`evaluation.unit.problems.p3.scores.1`: Input should be a"),
        ("evaluation.unit.problems.p3.measures.pass@1", float("nan"), "`evaluation.unit.problems.p3.measures.pass@1`"),
        ("evaluation.unit.kl.estimate", "none", "`evaluation.unit.kl.estimate`: Input should be a valid number"),
        ("evaluation.inference", None, "`evaluation.inference` is missing"),
        ("evaluation.samples.0.text", None, "`evaluation.samples.0.text` is missing"),
        ("evaluation.elsewhere.mini.q1", None, ""),
    ],
)
def test_a_damaged_field_is_named(tmp_path: Path, place: str, value: Any, words: str) -> None:
    """Protects from a KeyError in a report, and from a wrong number in it: the file, the field and what to do, in one line.
    A value of None removes the field; the last case removes what may be absent."""
    data = json.loads(json.dumps(written(evaluation=EVALUATION, files={})))
    *parents, name = place.split(".")
    part: Any = data
    for parent in parents:
        part = part[int(parent) if parent.isdigit() else parent]
    if value is None:
        del part[name]
    else:
        part[name] = value
    (tmp_path / "result.json").write_text(json.dumps(data))
    if not words:
        read_result(tmp_path, MeasuredResult)
        return
    with pytest.raises(UserError) as refused:
        read_result(tmp_path, MeasuredResult)
    line = f"{refused.value}"
    assert line.startswith(f"{tmp_path / 'result.json'} is damaged: {words}")
    assert line.endswith("Restore it, or start again with --fresh.") and len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("record", "data", "words"),
    [
        (ScorerResult, written(held_out=PAIRS | {"accuracy": "high"}), "`held_out.accuracy`"),
        (ScorerResult, written(validation={"pairs": 3}), "`validation.accuracy` is missing"),
        (
            ScorerResult,
            written(held_out=PAIRS | {"reliability": [BIN, {"stated": 1.0}]}),
            "`held_out.reliability.1.right`",
        ),
        (MatchResult, MATCH | {"problems": {"p0": {"outcomes": None}}}, "`problems.p0.outcomes`"),
        (MatchResult, {name: MATCH[name] for name in MATCH if name != "diverged_arms"}, "`diverged_arms` is missing"),
    ],
)
def test_a_damaged_scorer_or_match_is_named(
    tmp_path: Path, record: type[AnyResult], data: dict[str, Any], words: str
) -> None:
    """Protects the accuracies, the reward model's scale and the win rates in the same way."""
    write_sealed(tmp_path / "result.json", data)
    with pytest.raises(UserError, match=f"^{tmp_path / 'result.json'} is damaged: {words}"):
        read_result(tmp_path, record)


def test_results_of_older_versions_are_read(tmp_path: Path) -> None:
    """Protects finished runs and archives: an older preflab wrote no seal, no checksums, no data notes, no ending, no tokens
    of an answer and no measures of a problem, and another version may write fields that this one does not know."""
    old = json.loads(json.dumps(written(evaluation=EVALUATION, unknown={"a": [1]})))
    del old["data_notes"]
    evaluation = old["evaluation"]
    evaluation["inference"] = {"n": 1}
    del evaluation["elsewhere"], evaluation["samples"][0]["drawn"]
    for part in (evaluation["chosen"], evaluation["unit"]):
        for problem in part["problems"].values():
            del problem["measures"]
    (tmp_path / "result.json").write_text(json.dumps(old))
    result = read_result(tmp_path, MeasuredResult)
    assert (result.files, result.data_notes, result.ending) == ({}, [], None)
    assert result.evaluation is not None and result.evaluation.inference.tokens_an_answer is None
    assert result.evaluation.chosen.problems["p0"].measures == {} and result.evaluation.elsewhere == {}
    match = {name: MATCH[name] for name in MATCH if name not in ("left_out", "details")}
    (tmp_path / "result.json").write_text(json.dumps(match))
    assert read_result(tmp_path, MatchResult).left_out == 0
    (tmp_path / "result.json").write_text(json.dumps(written(diverged="The loss is nan.", best=None)))
    assert read_result(tmp_path, MeasuredResult).evaluation is None


def test_a_job_says_which_record_it_writes() -> None:
    """Protects readers from a record that lacks what they read: a reward model's pairs, or an arm's measures on the test."""
    arms = {
        (method, measure): parse_spec(
            Arm, {"name": "x", "testbed": "minicode", "method": method, "measure": measure}, where="test"
        )
        for method in ("sft", "rm")
        for measure in ("test", "none")
    }
    assert {key: result_class(arm) for key, arm in arms.items()} == {
        ("sft", "test"): MeasuredResult,
        ("sft", "none"): TrainedResult,
        ("rm", "test"): ScorerResult,
        ("rm", "none"): ScorerResult,
    }
