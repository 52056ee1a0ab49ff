"""The model card of what a run saved, and what a hub was sent: it is downloaded again and opened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from tests.models.hub_stand_in import running_hub
from tests.written import evaluated, written
from transformers import AutoModelForCausalLM

from preflab.arm.card import make_card
from preflab.arm.result import MeasuredResult
from preflab.arm.spec import Arm
from preflab.cli import main
from preflab.spec import parse_spec
from preflab.train.finished import checksums
from preflab.train.sealed import write_sealed

RESULT = MeasuredResult(
    **written(
        method="ppo",
        parameters=1234567,
        data_notes=["7 records dropped."],
        evaluation=evaluated({"score": 0.5, "pass@1": 0.5, "length": 9.25}, kl=2.5),
    )
)


def test_a_card_says_what_the_model_is() -> None:
    """Base, data, method, settings, results and how to load it; the metadata are those that the hub reads. Neither the folders
    of the user's machine nor what an address holds stand in it: a card is shown to others."""
    reward = {"kind": "http", "url": "http://host/score?key=secret"}
    data = {"name": "mine", "method": {"kind": "ppo", "rollouts": 33}, "reward": reward, "seed": 4}
    data |= {"testbed": {"kind": "jsonl", "data": "/home/someone/private/mine.jsonl"}, "model": "org/base"}
    card = make_card(parse_spec(Arm, data, where=""), RESULT)
    read = ModelCard(card)
    assert read.data.base_model == "org/base" and read.data.library_name == "transformers"
    assert read.data.pipeline_tag == "text-generation" and read.data.tags == ["preflab", "ppo"]
    assert {row.metric_type: row.metric_value for row in read.data.eval_results or ()}["pass@1"] == 0.5
    for words in ("AutoModelForCausalLM", "rollouts: 33", "reward: http", "7 records dropped.", "| test | kl | 2.5 |"):
        assert words in read.text
    assert "with seed 4" in read.text and "parameters: 1,234,567" in read.text
    assert "/home/someone" not in card and "secret" not in card


def test_what_was_pushed_is_downloaded_and_opened(tmp_path: Path) -> None:
    """`train --push` in a process of its own, for the address of the hub is read at its start. Plain transformers opens
    what comes back, with the run's weights. `push` sends the same files of the finished run."""
    run = tmp_path / "run"
    words = [
        "train",
        "sft",
        "--examples",
        "4",
        "--batch-size",
        "4",
        "--epochs",
        "1",
        "--no-evaluate",
        "--device",
        "cpu",
    ]
    words += ["--output", str(run), "--push", "me/tiny-sft", "-q"]
    load = (
        "import sys; from huggingface_hub import snapshot_download as get; print(get(sys.argv[1], cache_dir='cache'))"
    )
    with running_hub() as (address, hub):
        away = {"HF_ENDPOINT": address, "HF_TOKEN": "hf_test", "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, **away, "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}

        def call(*command: str) -> str:
            done = subprocess.run(
                [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        assert f"sent to {address}/me/tiny-sft" in call("-m", "preflab", *words)
        place = Path(call("-c", load, "me/tiny-sft").strip().splitlines()[-1])
        pushed = json.loads(call("-m", "preflab", "push", str(run), "me/again", "--json"))
        assert pushed == {"directory": str(run / "final"), "pushed_to": f"{address}/me/again"}
        again = Path(call("-c", load, "me/again").strip().splitlines()[-1])
        assert hub.created["me/tiny-sft"].get("private", hub.created["me/tiny-sft"].get("visibility")) in (
            True,
            "private",
        )
    assert ModelCard.load(tmp_path / place / "README.md").data.tags == ["preflab", "sft"]
    assert read_files(tmp_path / again) == read_files(tmp_path / place)
    sent, own = (AutoModelForCausalLM.from_pretrained(folder) for folder in (tmp_path / place, run / "final"))
    ids = torch.arange(6)[None]
    assert torch.equal(sent(ids).logits, own(ids).logits)
    assert "This model was not measured." in (run / "final" / "README.md").read_text()
    assert json.loads((run / "result.json").read_text())["method"] == "sft"


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_run(directory: Path, *files: str, **result: object) -> Path:
    """Makes a run directory with a manifest, with these files in `final/`, and with a result if one is given."""
    (directory / "final").mkdir(parents=True)
    write_sealed(directory / "manifest.json", {"format": 1, "spec": {}})
    for name in files:
        (directory / "final" / name).write_text("{}")
    if result:
        write_sealed(directory / "result.json", {"counts": {}, "files": checksums(directory), **result})
    return directory


def test_what_cannot_be_pushed_is_said_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line names the mistake, before the hub is asked: no directory, a study, a run that has not finished or has
    diverged, a run that made pairs, or a changed model."""
    (tmp_path / "study").mkdir()
    (tmp_path / "study/study.json").write_text("{}")
    altered = make_run(tmp_path / "altered", "config.json", diverged=None)
    (altered / "final/config.json").write_text("[]")
    for place, complaint in [
        (tmp_path / "nowhere", "There is no directory"),
        (tmp_path / "study", "is a study. Name one of its runs"),
        (make_run(tmp_path / "begun", "config.json"), "has not finished"),
        (make_run(tmp_path / "diverged", diverged="loss is nan"), "diverged, so it has no model"),
        (make_run(tmp_path / "pairs", "preferences.jsonl", diverged=None), "final does not contain a model"),
        (altered, "final/config.json is missing or was changed after the run"),
        (altered / "final", "final/config.json is missing or was changed after the run"),
    ]:
        with pytest.raises(SystemExit) as ended:
            main(["push", str(place), "me/model"])
        err = capsys.readouterr().err
        assert ended.value.code == 2 and complaint in err and len(err.splitlines()) == 1


def test_a_hub_that_does_not_take_it_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is none is refused before anything is trained, in one line."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["train", "sft", "--output", str(tmp_path / "run"), "--push", "no such/name/at all"])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert err == "preflab: 'no such/name/at all' is not the name of a repository. Give a name of the form USER/NAME.\n"
    assert not (tmp_path / "run").exists()
