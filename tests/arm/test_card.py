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
from transformers import AutoModelForCausalLM

from preflab.arm.card import make_card
from preflab.arm.spec import Arm
from preflab.cli import main
from preflab.spec import parse_spec

RESULT = {
    "product": "policy",
    "method": "ppo",
    "parameters": 1234567,
    "data_notes": ["7 records dropped."],
    "notices": [],
    "evaluation": {
        "chosen": {"measures": {"score": 0.5, "pass@1": 0.5, "length": 9.25}},
        "unit": {"kl": {"estimate": 2.5}},
    },
}


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
    """`train --push` in a process of its own, for the address of the hub is read at its start. Plain transformers opens what
    comes back, with the run's weights; the second time the finished run is sent, and not trained again."""
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
    load = "from huggingface_hub import snapshot_download as get; print(get('me/tiny-sft', cache_dir='cache'))"
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
        place = Path(call("-c", load).strip().splitlines()[-1])
        assert hub.created["me/tiny-sft"].get("private", hub.created["me/tiny-sft"].get("visibility")) in (
            True,
            "private",
        )
    assert ModelCard.load(tmp_path / place / "README.md").data.tags == ["preflab", "sft"]
    sent, own = (AutoModelForCausalLM.from_pretrained(folder) for folder in (tmp_path / place, run / "final"))
    ids = torch.arange(6)[None]
    assert torch.equal(sent(ids).logits, own(ids).logits)
    assert "This model was not measured." in (run / "final" / "README.md").read_text()
    assert json.loads((run / "result.json").read_text())["method"] == "sft"


def test_a_hub_that_does_not_take_it_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is none is refused before anything is trained, in one line."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["train", "sft", "--output", str(tmp_path / "run"), "--push", "no such/name/at all"])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert (
        err.startswith("preflab: The repository 'no such/name/at all' cannot be made on") and len(err.splitlines()) == 1
    )
    assert not (tmp_path / "run").exists()
