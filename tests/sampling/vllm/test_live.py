"""vLLM itself behind the sampler `vllm`: `make vllm` builds its environment and calls this. Takes minutes, because vLLM
starts twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.methods.toy import SHAPE, Scored, opened, read

from preflab.methods.dpo_iter import DPOIter
from preflab.methods.pairs import PairDraw
from preflab.methods.ppo import PPO
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.models.load import load_model
from preflab.models.spec import ModelSpec, TinyShape
from preflab.sampling.base import Decoding, Samples
from preflab.sampling.native import Native
from preflab.sampling.vllm.sampler import Vllm, VllmSampler
from preflab.spec import Context

pytestmark = pytest.mark.vllm

# vLLM's attention on a CPU needs heads of 32 or more dimensions.
WIDE = TinyShape(width=128, inner=128, layers=2, heads=2, context=64, words=SHAPE.words)
PROMPTS = [[5, 6, 7], [5, 6, 7], [8, 9], [5, 6, 7]]
SEEDS = [0, 1, 2, 0]


@pytest.fixture(scope="module")
def sampler(vllm_python: str) -> Iterator[VllmSampler]:
    with Vllm(python=vllm_python, dtype="float32", eager=True, cache_gib=0.25, importance_cap=2).open(
        Context()
    ) as opened:
        yield opened


@pytest.fixture
def lm() -> LanguageModel:
    return load_model(ModelSpec(name="tiny", tiny=WIDE), seed=0)


def draw(sampler: Any, lm: LanguageModel, **decoding: Any) -> Samples:
    return sampler.sample(lm, PROMPTS, seeds=SEEDS, decoding=Decoding(**{"max_new_tokens": 12} | decoding))


@torch.no_grad()
def largest_error(lm: LanguageModel, samples: Samples, temperature: float = 1.0) -> float:
    scored = forward.token_logprobs(lm.model, samples.batch, temperature=temperature, kept=samples.kept)
    return float((scored.logprobs - samples.logprobs)[samples.batch.mask].abs().max())


@pytest.mark.parametrize(
    "decoding", [{}, {"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.8}, {"top_k": 9, "top_p": 0.8, "temperature": 1.3}]
)
def test_log_probabilities_are_those_of_the_learner(
    sampler: VllmSampler, lm: LanguageModel, decoding: dict[str, Any]
) -> None:
    """In fp32, to 1e-4: temperature, top-k and top-p mean the same to vLLM and to preflab, and the kept ids are right."""
    samples = draw(sampler, lm, **decoding)
    assert largest_error(lm, samples, decoding.get("temperature", 1.0)) < 1e-4
    assert (samples.kept is None) == (not decoding.keys() & {"top_k", "top_p"})


def test_greedy_answers_are_those_of_the_native_sampler(sampler: VllmSampler, lm: LanguageModel) -> None:
    with Native().open(Context()) as native:
        ours = draw(native, lm, temperature=0)
    theirs = draw(sampler, lm, temperature=0)
    assert torch.equal(theirs.batch.completion_ids, ours.batch.completion_ids)
    assert torch.equal(theirs.batch.truncated, ours.batch.truncated)
    torch.testing.assert_close(theirs.logprobs, ours.logprobs, atol=1e-4, rtol=0)


def test_each_row_has_its_own_seed(sampler: VllmSampler, lm: LanguageModel) -> None:
    """Rows 0 and 3 have equal prompts and seeds; row 1 has the prompt of row 0 and another seed."""
    rows = draw(sampler, lm).batch.completion_ids.tolist()
    assert rows[0] == rows[3] != rows[1]


def test_an_end_token_ends_an_answer_and_counts(sampler: VllmSampler, lm: LanguageModel) -> None:
    """Of a model that draws the end id at once, each answer is this id, and no answer is truncated."""
    with torch.no_grad():
        embedding = lm.model.get_input_embeddings().weight
        embedding.copy_(torch.ones_like(embedding))
        embedding[lm.end_ids[0]] = 50.0
        lm.model.model.norm.weight.copy_(torch.ones_like(lm.model.model.norm.weight) * 10)
    batch = draw(sampler, lm, temperature=0).batch
    ended = [row[-1] in lm.end_ids for row in batch.completion_ids.tolist()]
    assert batch.truncated.tolist() == [not each for each in ended]


@pytest.mark.parametrize("part", ["embed_tokens", "q_proj", "o_proj", "gate_proj", "down_proj", "norm"])
def test_each_weight_is_renewed(sampler: VllmSampler, lm: LanguageModel, part: str) -> None:
    """The second draw has the new weights of every kind of layer. Protects from a trap: on a CPU, vLLM keeps an old copy
    of a vocabulary head that is also the embedding."""
    draw(sampler, lm)
    with torch.no_grad():
        for name, weight in lm.model.named_parameters():
            if part in name:
                weight.mul_(1.5)
    assert largest_error(lm, draw(sampler, lm)) < 1e-4


@pytest.mark.parametrize(
    "spec",
    [
        PPO(steps=2, rollouts=8, mini_batches=1, decoding=Decoding(max_new_tokens=4)),
        DPOIter(rounds=2, batch_size=8, draw=PairDraw(samples=4, decoding=Decoding(max_new_tokens=4))),
    ],
)
def test_a_run_learns_from_its_answers(sampler: VllmSampler, lm: LanguageModel, spec: Any, tmp_path: Path) -> None:
    """A run of PPO logs a mismatch that is that of fp32 kernels, in the second step also, and starts at a ratio of 1. A
    resumed run reads its answers from the journal: without an engine, it repeats the same records."""
    reward = Scored(lambda text: float(len(text)))
    weights = {name: weight.clone() for name, weight in lm.model.state_dict().items()}
    with opened(tmp_path, lm, sampler=sampler, reward=reward) as parts:
        spec.train(parts)
    records = read(tmp_path)
    if spec.kind == "ppo":
        assert all(record["mismatch_ratio"] < 1.001 and record["importance_capped"] == 0 for record in records)
        assert all(record["policy/ratio"] == pytest.approx(1.0, abs=1e-3) for record in records)
    lm.model.load_state_dict(weights)
    stopped = VllmSampler(sampler.spec, sampler.meter, Refusing())
    with opened(tmp_path, lm, sampler=stopped, reward=reward) as parts:
        spec.train(parts)
    assert read(tmp_path) == records


class Refusing:
    """An engine that must not be asked."""

    def draw(self, order: Any) -> Any:
        raise AssertionError("A resumed run drew answers again.")

    def close(self) -> None: ...
