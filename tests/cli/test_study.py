"""`preflab study`, `preflab studies`: plans, and study files that are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .running import run


def test_studies_and_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects what a newcomer asks first: the presets with a line each, and a JSON Schema with every variant."""
    code, out, _ = run("studies", capsys=capsys)
    assert code == 0
    assert "quickstart" in out and "hh-smollm2" in out
    code, out, _ = run("studies", "--schema", capsys=capsys)
    schema = json.loads(out)
    assert code == 0
    assert "method:ppo" in schema["$defs"]
    assert schema["$defs"]["method:ppo"]["properties"]["clip"]["default"] == 0.2


@pytest.mark.parametrize(
    ("manifest", "said"),
    [("{", "is damaged"), ('{"name": "theirs"}', "not the manifest of a study"), ("[]", "not the manifest of a study")],
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
