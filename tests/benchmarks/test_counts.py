"""What preflab's side of each benchmark computes, in counts that no machine changes. Each bound is today's number: a change
that computes less lowers it here, and one that computes more fails."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from benchmarks.counts import Counts
from benchmarks.inputs import write_inputs
from benchmarks.sides import ours, parts
from torch.utils.flop_counter import FlopCounterMode

from preflab.models.spec import TinyShape
from preflab.models.tiny import make_tiny
from preflab.testbeds.minicode.language import MINICODE_WORDS


class Most(NamedTuple):
    """The most that a case may compute: passes of a network, positions in them (padding included), FLOP of its matrix products
    (forward and backward), rows of logits in new memory, and shuffles of a pass over the rows."""

    passes: int
    tokens: int
    flops: int
    logits: int
    shuffles: int


LLAMA = {"vocabulary": 64, "width": 32, "layers": 2, "heads": 2, "context": 1024}
DPO = {**LLAMA, "prompt": 12, "answer": 8, "batch": 4, "steps": 3}
PPO = {**LLAMA, "prompt": 12, "answer": 8, "rollouts": 8, "steps": 2, "epochs": 4, "mini_batches": 1}
SAMPLE = {**LLAMA, "prompt": 12, "prompts": 8, "copies": 1, "answer": 8, "ends": 0}
CASES: Mapping[str, tuple[str, Mapping[str, Any], Most]] = {
    "dpo": ("dpo", DPO, Most(8, 710, 70_921_472, 1554, 2)),
    "dpo-uneven": ("dpo", {**DPO, "lengths": "long-tailed"}, Most(6, 12_286, 1_195_376_896, 15_362, 2)),
    "ppo": ("ppo", PPO, Most(44, 3848, 444_300_032, 6144, 10)),
    "sampling": ("sample", SAMPLE, Most(8, 152, 6_341_120, 192, 0)),
    "sampling-groups": (
        "sample",
        {**SAMPLE, "prompts": 4, "copies": 4, "lengths": "long-tailed", "ends": 4, "answer": 16},
        Most(16, 821, 37_604_224, 471, 0),
    ),
    "sft-tiny": ("sft-tiny", {"batch": 8, "train": 32}, Most(6, 1182, 2_162_776_320, 1698, 14)),
    "ppo-tiny": (
        "ppo-tiny",
        {"train": 32, "rollouts": 16, "steps": 2, "answer": 8, "epochs": 1, "mini_batches": 2},
        Most(36, 5706, 6_094_861_056, 3798, 3),
    ),
    "judged-tiny": (
        "judged-tiny",
        {"train": 32, "prompts": 4, "copies": 4, "answer": 8},
        Most(8, 224, 141_656_064, 384, 0),
    ),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Mapping[str, Any]], Path]:
    """`inputs(kind, size)`: the folder with what the harness would write; `tiny` is untrained, so that every machine has the
    same weights."""

    def write(kind: str, size: Mapping[str, Any]) -> Path:
        place = tmp_path_factory.mktemp(kind)
        if kind.endswith("tiny"):
            make_tiny(TinyShape(words=MINICODE_WORDS), seed=0).save(place / "tiny" / "final")
        else:
            write_inputs(size, place)
        return place

    return write


@pytest.mark.parametrize("case", CASES)
def test_computes_no_more_than_today(
    case: str, inputs: Callable[[str, Mapping[str, Any]], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the speed: passes, positions, arithmetic, logits and shuffles of each benchmark do not grow unnoticed."""
    kind, size, most = CASES[case]
    request = {"kind": kind, "precision": "fp32", "threads": 1, "rate": 1e-4, **size, "inputs": str(inputs(kind, size))}
    repeat = ours.prepare(request)
    repeat()  # the first call also tries the model's cache
    shuffles = 0
    shuffle = random.Random.shuffle

    def counted(self: random.Random, x: Any) -> None:
        nonlocal shuffles
        shuffles += 1
        shuffle(self, x)

    monkeypatch.setattr(random.Random, "shuffle", counted)
    vocabulary = size.get("vocabulary") or len(ours.open_tiny(request)[0].tokenizer)
    with FlopCounterMode(display=False) as flops, Counts(vocabulary) as counts:
        repeat()
    found = Most(counts.passes, counts.tokens, flops.get_total_flops(), counts.logits, shuffles)
    assert all(number <= bound for number, bound in zip(found, most, strict=True)), f"{found}, at most {most}"


@pytest.mark.parametrize("case", CASES)
def test_the_ceilings_stand_for_the_same_work(case: str, inputs: Callable[[str, Mapping[str, Any]], Path]) -> None:
    """Protects the ceilings: they run on what preflab's run says of itself, and compute the same. The sampler and packed rows
    leave out some work that a plain model does (the last MLP of a prompt, padding), at most a quarter."""
    kind, size, most = CASES[case]
    request = {"kind": kind, "precision": "fp32", "threads": 1, "rate": 1e-4, **size, "inputs": str(inputs(kind, size))}
    told = ours.prepare(request)()
    repeat = parts.prepare({**request, **told, "ceiling": "parts, each prompt once"})
    with FlopCounterMode(display=False) as flops:
        assert repeat()["work"] == told["work"]
    assert 0 < flops.get_total_flops() <= 1.25 * most.flops
