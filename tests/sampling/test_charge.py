"""What sampling costs, charged to the context's meter: 2N FLOP for each prompt token read and each token drawn."""

from __future__ import annotations

import pytest

from preflab.meter import Meter
from preflab.models.lm import LanguageModel
from preflab.models.load import load_model
from preflab.models.spec import ModelSpec, TinyShape
from preflab.sampling.base import Decoding
from preflab.sampling.native import Native
from preflab.sampling.support import Support
from preflab.spec import Context

PROMPTS = [[5, 6, 7], [8, 9], [5, 6, 7], [5, 6, 7]]  # three equal rows: 3 + 2 = 5 tokens of distinct prompts


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return load_model(ModelSpec(name="tiny", tiny=TinyShape(width=16, inner=16, layers=1, heads=2, context=32)), seed=0)


def charged(lm: LanguageModel, spec: Native) -> tuple[Meter, int]:
    """The meter after one request, and the tokens that were drawn."""
    meter = Meter()
    with spec.open(Context(meter=meter)) as sampler:
        samples = sampler.sample(lm, PROMPTS, seeds=range(4), decoding=Decoding(max_new_tokens=6))
    return meter, int(samples.batch.completion_lengths.sum())


def test_a_shared_prompt_is_read_once(lm: LanguageModel) -> None:
    """Equal prompts of a batch are prefilled once: 2N (5 + drawn). Sampling is no label and trains nothing."""
    meter, drawn = charged(lm, Native())
    expected = {"flops": 2 * lm.size * (5 + drawn), "labels": 0, "sampled_tokens": drawn}
    assert meter.counts == {**expected, "forward_tokens": 0, "trained_tokens": 0}


def test_a_prompt_that_is_cut_into_two_batches_is_read_twice(lm: LanguageModel) -> None:
    """At 2 rows a batch: [5 6 7] twice, then [5 6 7] and [8 9]: 3 + 3 + 2 tokens are read."""
    meter, drawn = charged(lm, Native(rows=2))
    assert meter.counts["flops"] == 2 * lm.size * (8 + drawn)


def test_generate_reads_every_row(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' `generate` shares no prompt: 3 x 3 + 2 = 11 tokens are read."""
    monkeypatch.setattr("preflab.sampling.native.examine", lambda base: Support("it is made so."))
    meter, drawn = charged(lm, Native())
    assert meter.counts["flops"] == 2 * lm.size * (11 + drawn)
