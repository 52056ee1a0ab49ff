"""Names in a study file: each may name a folder, and none reaches outside the study's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from preflab.arm.spec import Arm
from preflab.errors import UserError
from preflab.spec import parse_spec
from preflab.study.load import PRESETS, load_study, offers_size, preset_names
from preflab.study.spec import Study

STUDY: dict[str, Any] = {"name": "s", "testbed": "minicode", "arms": {"a": {"method": "sft"}}}
BAD = ["../../escaped", "..", ".", ".hidden", "", "a/b", "a\\b", "a b", "a\nb", "\x1b[31mred", "a\x00", "é", "x" * 101]


def place(name: str) -> list[dict[str, Any]]:
    """A study with the name in each place where names stand."""
    job = {"method": "sft"}
    pairing = {"evaluator": {"kind": "by-reward", "model": {"path": "rm"}}, "pairs": [["a", "b"]]}
    return [
        STUDY | {"name": name},
        STUDY | {"arms": {name: job}},
        STUDY | {"stages": {name: job}},
        STUDY | {"evaluators": {name: "hidden-tests"}},
        STUDY | {"evaluators": [[name, "hidden-tests"]]},
        STUDY | {"arms": {"a": job, "b": job}, "pairwise": {name: pairing}},
    ]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_is_none_is_refused_everywhere(name: str) -> None:
    """Of the study, an arm, a stage, an evaluator, a pairing, and of a single run."""
    for data in place(name):
        with pytest.raises(UserError, match="a name must have 1 to 100"):
            parse_spec(Study, data, where="f.yaml")
    with pytest.raises(UserError, match=r"`name`: a name must have"):
        parse_spec(Arm, {"name": name, "testbed": "minicode"}, where="f.yaml")


@pytest.mark.parametrize("name", ["a", "-advantage-norm", "reinforce++", "dpo_0.1", "7B"])
def test_names_that_are_used(name: str) -> None:
    """Those of the presets and of the methods."""
    for data in place(name):
        assert parse_spec(Study, data | {"arms": {"a": {"method": "sft"}} | data["arms"]}, where="f.yaml")
    assert all(load_study(preset) for preset in preset_names()) and PRESETS.is_dir()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"arms": {"stages": {"method": "sft"}}}, "`arms.stages`: preflab uses this folder name"),
        ({"arms": {"pairwise": {"method": "sft"}}}, "`arms.pairwise`: preflab uses this folder name"),
        ({"arms": {}}, "`arms`"),
        ({"stages": {"a": {"method": "sft", "init": "stage:a"}}}, "`stages.a` needs itself: a needs a"),
        (
            {
                "stages": {
                    "a": {"method": "sft", "init": "stage:b"},
                    "b": {"method": "sft", "init": "stage:c"},
                    "c": {"method": "sft", "init": "stage:b"},
                }
            },
            "`stages.b` needs itself: b needs c needs b",
        ),
        ({"testbed": None}, "The testbed needs"),
        ({"sampler": None}, "The sampler needs"),
        ({"evaluators": 5}, "`evaluators`"),
        ({"evaluators": [5]}, "`evaluators"),
        ({"evaluators": [["a", "hidden-tests"], ["a", "hidden-tests"]]}, "occurs twice"),
        ({"evaluators": {"a": None}}, "The evaluator needs"),
        ({"seeds": [[[1]]]}, "`seeds`"),
        ({"looks": float("inf")}, "`looks`"),
        ({"memory_gb": float("inf")}, "`memory_gb`"),
    ],
)
def test_what_no_study_says(changes: dict[str, Any], complaint: str) -> None:
    """Null where a part belongs, stages in a circle, names of folders: one message, no error of Python's."""
    with pytest.raises(UserError, match=complaint):
        parse_spec(Study, STUDY | changes, where="f.yaml")


def test_a_run_needs_a_testbed() -> None:
    """`testbed: null`, or none, is found when the file is read."""
    for data in ({"name": "a", "testbed": None}, {"name": "a"}):
        with pytest.raises(UserError, match="testbed"):
            parse_spec(Arm, data, where="run.yaml")


@pytest.mark.parametrize("sizes", ["[a]", "3", "{paper: 3}", "{../x: {}}", "{paper: {1: 2}}"])
def test_sizes_that_are_none(tmp_path: Path, sizes: str) -> None:
    """They are refused by file and key, whatever size is asked for."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: s\ntestbed: minicode\narms: {{a: {{method: sft}}}}\nsizes: {sizes}\n")
    for read in (load_study, lambda name: offers_size(name, "paper")):
        with pytest.raises(UserError, match=r"mine\.yaml"):
            read(str(path))


@pytest.mark.parametrize(
    ("job", "complaint"),
    [
        ("{method: {kind: dpo, loss: sigmod}}", "Did you mean 'sigmoid'"),
        ("{method: {kind: dpo, loss: 'no_such_module:loss'}}", "`arms.a`: .*no module 'no_such_module'"),
        ("{method: {kind: dpo-iter, loss: 'math:sqrt'}, reward: tests}", "`arms.a`: .*'math:sqrt' fails on two pairs"),
        ("{method: {kind: online-dpo, loss_settings: {betta: 1}}}", "has no setting 'betta'"),
        (
            "{method: ppo, reward: {kind: function, target: 'no_such_module:f'}}",
            "`arms.a`: .*no module 'no_such_module'",
        ),
        ("{method: ppo, reward: {kind: function, target: '../my.py:f'}}", "`arms.a`: .*write `my:"),
    ],
)
def test_what_does_not_load_is_found_when_the_file_is_read(tmp_path: Path, job: str, complaint: str) -> None:
    """A loss, a loss's settings, a reward's function: not after the SFT stage. A report still reads such a study."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: s\ntestbed: minicode\narms: {{a: {job}}}\n")
    with pytest.raises(UserError, match=rf"(?s)mine\.yaml: {complaint}|mine\.yaml: .*{complaint}"):
        load_study(str(path))
