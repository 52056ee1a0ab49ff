"""What a run leaves under `final/`, and the date that its prompts keep."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.conftest import CHATML, save_chat

from preflab.arm.execute import execute
from preflab.arm.open import open_arm
from preflab.arm.spec import Arm
from preflab.batch import collate
from preflab.models import forward, lora
from preflab.models.facts import TRAINED_ON
from preflab.models.lm import LanguageModel
from preflab.models.load import load_directory
from preflab.spec import parse_spec
from preflab.train.files import read_json
from preflab.train.loop import open_run
from preflab.train.settings import Keeping
from preflab.types import Prompt, Turn

QUIET = Keeping(progress=False)
DATED = "{{ strftime_now('%d %b %Y') + '\\n' }}" + CHATML
ROWS = collate([[5, 6, 7], [8, 9]], [[10, 11], [12, 13]])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_chat(tmp_path / "base", DATED)


def sft(base: Path, tmp_path: Path, **changes: Any) -> Arm:
    """Two steps of SFT under LoRA on a few answers."""
    data = tmp_path / "data.jsonl"
    rows = [{"prompt": f"Is {number} even?", "completion": "yes" if number % 2 == 0 else "no"} for number in range(40)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {
        "name": "sft",
        "method": {"kind": "sft", "epochs": 1, "batch_size": 16, "optim": {"learning_rate": 0.05}},
        "model": {"name": str(base), "lora": {"rank": 2}},
        "testbed": {"kind": "jsonl", "data": str(data)},
        "measure": "none",
    }
    return parse_spec(Arm, {**fields, **changes}, where="test")


@torch.no_grad()
def logprobs(lm: LanguageModel) -> torch.Tensor:
    return forward.token_logprobs(lm.model, ROWS).logprobs


def test_adapters_lie_beside_and_begin_another_run(base: Path, tmp_path: Path) -> None:
    """Protects `--init ADAPTERS`: a run under LoRA saves both forms with what they were trained on, says nothing, and another
    run starts from the adapters as it would from the merged weights."""
    result = execute(sft(base, tmp_path), tmp_path / "first", keeping=QUIET)
    final = tmp_path / "first" / "final"
    assert result.notices == []
    assert read_json(final / TRAINED_ON) == read_json(final / lora.ADAPTER / TRAINED_ON) != []
    torch.testing.assert_close(
        logprobs(load_directory(final)), logprobs(load_directory(final / lora.ADAPTER)), atol=1e-5, rtol=1e-5
    )
    for name, start in (("merged", final), ("adapters", final / lora.ADAPTER)):
        execute(sft(base, tmp_path, init=str(start)), tmp_path / name, keeping=QUIET)
    merged, adapters = (load_directory(tmp_path / name / "final") for name in ("merged", "adapters"))
    torch.testing.assert_close(logprobs(merged), logprobs(adapters), atol=1e-3, rtol=1e-3)
    assert read_json(tmp_path / "adapters" / "final" / TRAINED_ON) == read_json(final / TRAINED_ON)


def test_a_run_says_that_its_weights_were_not_saved_as_trained(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Protects a run's work from being lost unnoticed: the result, which every report reads, and the log say it, and `final/`
    opens as what was trained."""
    plain = execute(sft(base, tmp_path), tmp_path / "plain", keeping=QUIET)
    assert plain.notices == []

    def save_the_base(model: Any, directory: Path) -> None:
        load_directory(base).model.save_pretrained(directory)

    monkeypatch.setattr(lora, "save_plain", save_the_base)
    with caplog.at_level(logging.WARNING, logger="preflab"):
        result = execute(sft(base, tmp_path), tmp_path / "spoilt", keeping=QUIET)
    (notice,) = result.notices
    assert "Only the adapters are saved" in notice and notice in caplog.text
    assert read_json(tmp_path / "spoilt" / "result.json")["notices"] == [notice]
    opened, expected = (load_directory(tmp_path / name / "final") for name in ("spoilt", "plain"))
    torch.testing.assert_close(logprobs(opened), logprobs(expected), atol=1e-4, rtol=1e-4)


def test_a_resumed_run_keeps_its_date(base: Path, tmp_path: Path) -> None:
    """Protects resume on another day: the manifest's date is what the template writes, whatever today is, and what was trained
    keeps it."""
    arm, directory = sft(base, tmp_path), tmp_path / "run"
    manifest = {"spec": arm.model_dump(mode="json")}
    with open_run(directory, {**manifest, "date": "2020-02-03"}, seed=0, keeping=QUIET):
        pass
    with open_run(directory, manifest, seed=0, keeping=QUIET) as run, ExitStack() as stack:
        policy = open_arm(arm, run, stack).policy_to_train()
        ids = policy.encode_prompt(Prompt("p", (Turn("user", "hi"),)))
        assert policy.tokenizer.decode(ids).startswith("03 Feb 2020\n")
    execute(arm, directory, keeping=QUIET)
    assert load_directory(directory / "final").form.date == "2020-02-03"
    assert read_json(directory / "manifest.json")["date"] == "2020-02-03"
