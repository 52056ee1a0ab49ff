"""What is missing is said before anything is trained, by `--plan` and by the run, for every stage and arm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import UserError
from preflab.spec import parse_spec
from preflab.study.check import check_study
from preflab.study.launchers.local import Local
from preflab.study.run import run_missing
from preflab.study.spec import Study

SMALL = {"kind": "minicode", "train": 24, "validation": 5, "test": 5}
TINY = {"name": "tiny", "tiny": {"width": 16, "inner": 16, "layers": 1, "heads": 2}}


def study(**changes: Any) -> Study:
    """An SFT stage and two arms; `changes` replace settings of the second arm, or of the study where it has none such."""
    arm: dict[str, Any] = {"init": "stage:sft", "method": {"kind": "dpo", "epochs": 1}}
    data = {
        "name": "small",
        "seeds": 2,
        "model": TINY,
        "testbed": SMALL,
        "stages": {"sft": {"method": {"kind": "sft", "epochs": 1}}},
        "arms": {"first": dict(arm), "second": arm},
    }
    for key, value in changes.items():
        (data if key in ("testbed", "evaluator", "stages") else arm)[key] = value
    return parse_spec(Study, data, where="test")


def own_data(tmp_path: Path, row: dict[str, Any]) -> dict[str, Any]:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"ask {n}"} | row) + "\n" for n in range(40)))
    return {"kind": "jsonl", "data": str(path)}


def test_a_whole_study_passes(tmp_path: Path) -> None:
    check_study(study(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reward": {"kind": "function", "target": "missing:score"}, "method": "ppo"}, "missing"),
        ({"method": "ppo"}, "Name a reward"),
        ({"reward": {"kind": "learned", "path": "nowhere"}, "method": "ppo"}, "nowhere"),
        ({"init": "nowhere"}, "There is no policy 'nowhere': it is neither a directory"),
        ({"policy": "nowhere", "method": None}, "There is no policy 'nowhere': it is neither a directory"),
        ({"preferences": "nowhere.jsonl"}, "nowhere.jsonl"),
        (
            {
                "method": "ppo",
                "reward": {"kind": "learned", "path": "stage:warm"},
                "stages": {
                    "sft": {"method": "sft"},
                    "warm": {"method": {"kind": "warm", "models": ["gone-a", "gone-b"]}},
                },
            },
            "gone-a",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_an_arm_lacks(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """The second arm's reward, reward model, start, policy, file or members are missing: before the SFT stage trains, with the
    arm's or stage's name. The directory is not claimed."""
    with pytest.raises(UserError, match=rf"`(second|warm)` cannot run: .*{said}"):
        run_missing(study(**changes), tmp_path / "run", launcher=Local())
    assert not (tmp_path / "run").exists()


def test_what_the_evaluator_lacks(tmp_path: Path) -> None:
    """hidden-tests on data without tests failed at 22% of SFT, and `--plan` passed; a reward model that is not there, too."""
    answers = {"chosen": "yes", "rejected": "no"}
    data = own_data(tmp_path, answers)
    for evaluator, said in (
        ("hidden-tests", "no hidden tests"),
        ({"kind": "reward-model", "model": {"path": "nowhere"}}, "nowhere"),
    ):
        with pytest.raises(UserError, match=rf"`sft` cannot run: .*{said}"):
            check_study(study(testbed=data, evaluator=evaluator), tmp_path / "run")


def test_what_the_data_cannot_teach(tmp_path: Path) -> None:
    """Pairs whose answers are all the same, in the data of a stage."""
    data = own_data(tmp_path, {"chosen": "same", "rejected": "same"})
    stages = {"sft": {"method": {"kind": "sft"}}, "rm": {"testbed": data, "method": {"kind": "rm"}}}
    second = {"reward": {"kind": "learned", "path": "stage:rm"}, "method": {"kind": "ppo"}}
    with pytest.raises(UserError, match=r"`rm` cannot run: .*Nothing can be learned"):
        check_study(study(stages=stages, **second), tmp_path / "run")
