"""SmolLM2 learns by SFT, DPO-Iter and PPO from samples of vLLM: a few answers each, since this takes minutes on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.methods.toy import Scored, opened, read

from preflab.methods.dpo_iter import DPOIter
from preflab.methods.pairs import PairDraw
from preflab.methods.ppo import PPO
from preflab.methods.sft import SFT
from preflab.models.lm import LanguageModel
from preflab.models.load import load_model
from preflab.models.spec import ModelSpec
from preflab.sampling.base import Decoding
from preflab.sampling.native import Native
from preflab.sampling.vllm.sampler import Vllm, VllmSampler
from preflab.spec import Context

pytestmark = pytest.mark.vllm
SHORT = Decoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return load_model(ModelSpec(name="smollm2"), seed=0)


@pytest.fixture(scope="module")
def sampler(vllm_python: str) -> Iterator[VllmSampler]:
    settings: dict[str, Any] = {"dtype": "float32", "eager": True, "max_model_length": 256, "cache_gib": 0.25}
    with Vllm(python=vllm_python, importance_cap=2, **settings).open(Context()) as opened_sampler:
        yield opened_sampler


def train(spec: Any, lm: LanguageModel, sampler: VllmSampler, directory: Path) -> list[dict[str, Any]]:
    """The records of a run from the model's present weights, whose reward and validation are the length of answers."""

    def validate(policy: LanguageModel) -> dict[str, float]:
        ids = [policy.encode_prompt(prompt) for prompt in parts.testbed.prompts("validation")[:2]]
        samples = sampler.sample(policy, ids, seeds=[0, 1], decoding=SHORT)
        return {"score": float(samples.batch.completion_lengths.float().mean())}

    reward = Scored(lambda text: float(len(text)))
    with opened(directory, lm, sampler=sampler, reward=reward, validate=validate, token_budget=512) as parts:
        spec.train(parts)
    return read(directory)


@pytest.mark.parametrize(
    "spec",
    [
        SFT(epochs=1, batch_size=8),
        PPO(steps=2, rollouts=4, mini_batches=1, decoding=SHORT),
        DPOIter(rounds=1, prompts=4, batch_size=4, draw=PairDraw(samples=2, decoding=SHORT)),
    ],
    ids=lambda spec: spec.kind,
)
def test_a_run_of_smollm2(spec: Any, lm: LanguageModel, sampler: VllmSampler, tmp_path: Path) -> None:
    """Each run samples from vLLM (SFT only to validate). In fp32 the kernels of vLLM and of preflab agree to 1% for each
    token, also after the weights of an update were loaded."""
    before = sampler.meter.counts["sampled_tokens"]
    records = train(spec, lm, sampler, tmp_path)
    assert sampler.meter.counts["sampled_tokens"] > before
    assert records[-1]["validation/score"] > 0
    if spec.kind == "ppo":
        assert all(record["mismatch_ratio"] < 1.01 for record in records)
    print({name: records[-1].get(name) for name in ("mismatch_kl", "mismatch_ratio", "mismatch_low")})


def test_the_speed_beside_the_native_sampler(lm: LanguageModel, sampler: VllmSampler) -> None:
    """Prints seconds (`-s` shows them), which depend on the machine; asserts only that both draw all tokens."""
    prompts, seeds, decoding = [[5, 6, 7, 8]] * 8, range(8), Decoding(max_new_tokens=16)
    with Native().open(Context()) as native:
        draws: list[tuple[str, Callable[..., Any]]] = [("native", native.sample), ("vllm", sampler.sample)]
        for name, draw in draws:
            draw(lm, prompts[:1], seeds=[0], decoding=Decoding(max_new_tokens=1))
            started = time.perf_counter()
            batch = draw(lm, prompts, seeds=seeds, decoding=decoding).batch
            tokens = int(batch.completion_lengths.sum())
            print(f"{name}: {tokens} tokens in {time.perf_counter() - started:.2f} s")
            assert tokens > 0
