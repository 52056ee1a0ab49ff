"""Samples in the journal: they come back bit by bit, and a resumed run reads what it saw instead of drawing again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.batch import KeptTokens, collate
from preflab.meter import Meter
from preflab.methods.dpo_iter import DPOIter
from preflab.methods.pairs import PairDraw
from preflab.methods.ppo import PPO
from preflab.methods.shared.stored_samples import pack, unpack
from preflab.models.lm import LanguageModel
from preflab.sampling.base import Decoding, Sampler, Samples
from preflab.sampling.native import Native, NativeSampler

from .toy import Scored, opened, read, untrained


class Fickle(Sampler):
    """Draws other answers at each call, as vLLM may, whose log-probabilities are off by a tenth."""

    repeatable = False

    def __init__(self, calls: list[int]) -> None:
        self.calls = calls
        self.native = NativeSampler(Native(), Meter())

    def sample(
        self, lm: LanguageModel, prompts: Sequence[Sequence[int]], *, seeds: Sequence[int], decoding: Decoding
    ) -> Samples:
        self.calls.append(len(prompts))
        samples = self.native.sample(lm, prompts, seeds=[seed + len(self.calls) for seed in seeds], decoding=decoding)
        logprobs = torch.where(samples.batch.mask, samples.logprobs - 0.1, 0.0)
        return replace(samples, logprobs=logprobs, exact=False, importance_cap=2.0)


def test_samples_come_back_bit_by_bit() -> None:
    """Ids, lengths, truncation, kept ids, and log-probabilities that no short decimal represents."""
    prompts = [[3, 4], [5]]
    batch = collate(prompts, [[1, 2, 3], [4]], [True, False])
    logprobs = torch.tensor([[-1 / 3, -1e-30, -7.0], [-2 / 7, 0.0, 0.0]])
    kept = KeptTokens(torch.arange(12, dtype=torch.int32).view(2, 3, 2), torch.tensor([[2, 1, 2], [1, 0, 0]]).int())
    samples = Samples(batch, logprobs, kept, exact=False, importance_cap=3.0)
    again = unpack(prompts, pack(samples))
    for name in ("prompt_ids", "prompt_lengths", "completion_ids", "completion_lengths", "truncated"):
        assert torch.equal(getattr(again.batch, name), getattr(batch, name))
    assert again.kept is not None and torch.equal(again.kept.ids, kept.ids)
    assert torch.equal(again.kept.counts, kept.counts) and torch.equal(again.logprobs, logprobs)
    assert (again.exact, again.importance_cap) == (False, 3.0)


PPO_RUN = PPO(steps=3, rollouts=8, decoding=Decoding(max_new_tokens=4))
ROUNDS = DPOIter(rounds=3, batch_size=8, draw=PairDraw(samples=4, decoding=Decoding(max_new_tokens=4)))


@pytest.mark.parametrize("spec", [PPO_RUN, ROUNDS])
def test_a_resumed_run_replays_what_it_saw(spec: Any, tmp_path: Path) -> None:
    """The third draw is stored, and then the reward fails, before any checkpoint. The resumed run repeats all three
    steps from the journal, without a draw, and its records are those of a run that was never broken."""
    calls: list[int] = []
    broken: list[list[Any]] = []

    def score(text: str) -> float:
        if broken and len(calls) == 3:
            raise KeyboardInterrupt
        return float(len(text))

    def train(folder: str) -> list[dict[str, Any]]:
        sampler = Fickle(calls)
        with opened(tmp_path / folder, untrained(), sampler=sampler, reward=Scored(score)) as parts:
            spec.train(parts)
        return read(tmp_path / folder)

    whole = train("whole")
    assert len(calls) == 3
    calls.clear()
    broken.append([])
    with pytest.raises(KeyboardInterrupt):
        train("broken")
    assert len(calls) == 3
    broken.clear()
    assert train("broken") == whole
    assert len(calls) == 3
