"""The peak memory of a run: its parts by hand, and the refusal before a model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.cli.running import run
from tests.models.conftest import save_llama

from preflab.arm import memory
from preflab.arm.memory import GIB, PROCESS, MemoryEstimator
from preflab.arm.spec import Arm
from preflab.models.footprint import Footprint
from preflab.models.spec import ModelSpec
from preflab.spec import parse_spec

BY_HAND = Footprint(parameters=1000, trainable=100, activations=5000, token_bytes=8, vocabulary=10, width=64)


def arm(method: str | None, **fields: Any) -> Arm:
    data = {"name": "x", "testbed": "minicode", "evaluation": {"prompts": 3, "samples": 2, "max_new_tokens": 72}}
    return parse_spec(Arm, {**data, "method": method, **fields}, where="test")


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> MemoryEstimator:
    monkeypatch.setattr(memory, "measure_footprint", lambda *_, **__: BY_HAND)
    return MemoryEstimator({"rm": ModelSpec()})


def test_the_parts_by_hand(by_hand: MemoryEstimator) -> None:
    """4 bytes a number. sft: two copies, 8,000; 3 x 100 numbers to learn with, 1,200. ppo: a critic and a reward model
    more, 16,000; two learners and a reference, 7 x 100: 2,800. rm: three copies and one learner. A policy that is only
    measured: one copy. sft samples 6 answers, each with 128 + 72 tokens of 8 bytes, 9,600, and twice 6 x 10 logits, 480."""
    sft = by_hand.estimate(arm("sft"))
    assert (sft.models, sft.learning, sft.activations, sft.sampling) == (8000, 1200, 5000, 9600 + 480)
    assert sft.peak == 8000 + 1200 + 5000 + 10080 + PROCESS and sft.is_whole
    ppo = by_hand.estimate(arm("ppo", reward={"kind": "learned", "path": "stage:rm"}))
    assert (ppo.models, ppo.learning, ppo.activations) == (16000, 2800, 5000)
    rm = by_hand.estimate(arm("rm"))
    assert (rm.models, rm.learning) == (12000, 1200)
    measured = by_hand.estimate(arm(None, policy="stage:sft"))
    assert (measured.models, measured.learning, measured.activations) == (4000, 0, 0)


def test_the_memory_of_vllm_by_hand(by_hand: MemoryEstimator) -> None:
    """On a CPU, vLLM's process: a cache of .5 GiB, 1,000 weights of 2 bytes, and 1 GiB for itself."""
    sampler = {"kind": "vllm", "cache_gib": 0.5}
    assert by_hand.estimate(arm("sft", sampler=sampler, device="cpu")).sampling == 0.5 * GIB + 2000 + GIB


def test_an_unknown_part_is_said(by_hand: MemoryEstimator) -> None:
    """Protects readers of a plan: the size of a reward model that is not here is not known, so the peak is higher."""
    assert not by_hand.estimate(arm("ppo", reward={"kind": "learned", "path": "owner/name"})).is_whole


def test_a_run_that_does_not_fit_is_refused_before_loading(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects a machine's memory: exit code 2, what is needed, what is there, and what would fit. The weights are never
    read: the file of this model holds none."""
    directory = save_llama(tmp_path / "model")
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(f'{{"prompt": "{n}", "completion": "b"}}\n' for n in range(40)))
    (directory / "model.safetensors").unlink()
    words = ["train", "sft", "--testbed", "jsonl", "--data", str(data), "--model", str(directory)]
    monkeypatch.setattr(memory, "available_memory", lambda device: PROCESS + 0.3 * GIB)
    code, _, err = run(*words, "--token-budget", 65536, "--output", tmp_path / "out", capsys=capsys)
    assert code == 2
    assert "needs about" in err and "but this machine has 0.9 GiB" in err, err
    assert "activations of a micro-batch" in err
    assert "The run fits with one of these changes: checkpoint_activations with token_budget 1024 (0.8 GiB)" in err
