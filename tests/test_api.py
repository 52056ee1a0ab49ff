"""The Python interface's comparison: a diverged run counts as in a study; what cannot be compared is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.written import evaluated, written

from preflab import Trained, compare, plan_study, report_study, run_study
from preflab.arm.result import MeasuredResult, TrainedResult
from preflab.errors import UserError
from preflab.spec import parse_spec
from preflab.study.directory import claim_study
from preflab.study.spec import Study

STUDY: dict[str, Any] = {"testbed": "minicode", "arms": {"sft": {"method": "sft"}}}


def ran(seed: int, scores: dict[str, list[float]] | None, name: str = "ppo") -> Trained:
    """A finished run; None: it diverged."""
    result = written(name=name, seed=seed, diverged="The loss is nan." if scores is None else None)
    if scores is not None:
        result["evaluation"] = evaluated({"score": 0.5}, scores)
    return Trained(Path(f"{name}-{seed}"), MeasuredResult(**result))


def test_a_diverged_run_scores_nothing() -> None:
    """Where scores are 0 or 1 a diverged run gets 0: means .5 and 0 against .5 and .5 over two seeds differ by -.25."""
    half = {"a": [1.0, 0.0], "b": [0.0, 1.0]}
    comparison = compare([ran(0, half), ran(1, None)], [ran(0, half, "dpo"), ran(1, half, "dpo")])
    assert comparison.difference == pytest.approx(-0.25)


def test_a_comparison_says_what_it_compares() -> None:
    """Protects who reads the record: it compares the mean score, and no study declared it beforehand."""
    comparison = compare([ran(seed, {"a": [1.0]}) for seed in (0, 1)], [ran(seed, {"a": [0.0]}) for seed in (0, 1)])
    assert (comparison.metric, comparison.named) == ("score", False)


def test_a_diverged_run_gets_the_worst_where_scores_have_no_zero() -> None:
    """A reward model's scores: the diverged run gets -3 on `a`, the worst of any run, and 0 at the most (`b`):
    (-3 + 0) / 2 - (-3 + 4) / 2 = -2 on seed 1, nothing on seed 0."""
    other = {"a": [-3.0], "b": [4.0]}
    comparison = compare([ran(0, other), ran(1, None)], [ran(0, other, "dpo"), ran(1, other, "dpo")])
    assert comparison.difference == pytest.approx(-1.0)


def test_what_cannot_be_compared() -> None:
    """Protects from an IndexError: a side without runs, runs that were not measured, and nothing but diverged runs."""
    fine = ran(0, {"a": [1.0]})
    with pytest.raises(UserError, match="at least one run"):
        compare([fine], [])
    with pytest.raises(UserError, match="was not measured"):
        compare([fine], [Trained(Path("x"), TrainedResult(**written()))])
    with pytest.raises(UserError, match="every run diverged"):
        compare([ran(0, None)], [ran(0, None)])
    with pytest.raises(UserError, match="same problems"):
        compare([fine], [ran(0, {"b": [1.0]})])


def test_a_study_takes_its_directory_as_text(tmp_path: Path) -> None:
    """Protects from an AttributeError: `run_study(study, "runs/mine")`, as for `fit`. Here the directory holds another
    study, which is refused, and of which no arm has finished."""
    earlier, study = (parse_spec(Study, {**STUDY, "name": name}, where="x") for name in ("earlier", "study"))
    claim_study(earlier, tmp_path, ())
    with pytest.raises(UserError, match="earlier"):
        run_study(study, str(tmp_path), quiet=True)
    with pytest.raises(UserError, match="earlier"):
        plan_study(study, str(tmp_path))
    with pytest.raises(UserError, match="No arm of 'earlier' has finished"):
        report_study(str(tmp_path))
