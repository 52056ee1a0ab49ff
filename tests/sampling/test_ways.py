"""The ways to decode: which one serves a model, that all draw the same, and that the trial refuses a wrong one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.sampling.conftest import ask, build, completions, random_prompts

from preflab.models.forward import token_logprobs
from preflab.models.lm import LanguageModel
from preflab.sampling import support
from preflab.sampling.decode import DecodeBatch
from preflab.sampling.native import Native
from preflab.sampling.shared import SharedLayer
from preflab.sampling.support import examine
from preflab.sampling.ways import FusedBatch, InPlaceBatch, SharedBatch
from preflab.spec import Context

WAYS: dict[str, list[type[DecodeBatch]]] = {
    "llama": [FusedBatch, SharedBatch, InPlaceBatch],
    "qwen2": [FusedBatch, SharedBatch, InPlaceBatch],
    "qwen3": [FusedBatch, SharedBatch, InPlaceBatch],
    "gpt2": [SharedBatch, InPlaceBatch],
}


def test_the_fastest_way_that_is_right_serves() -> None:
    """Llama's shape is fused; GPT-2 shares prompts; with eager attention the model's own attention reads the cache."""
    for name, ways in WAYS.items():
        found = examine(build(name).model)
        assert (found.reason, found.way) == ("", ways[0])
    eager = build("llama")
    eager.model.config._attn_implementation = "eager"
    found = examine(eager.model)
    assert (found.reason, found.way) == ("", InPlaceBatch)


@pytest.mark.parametrize(("name", "way"), [(name, way) for name, ways in WAYS.items() for way in ways])
def test_every_way_draws_the_same(name: str, way: type[DecodeBatch], monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of 1 to 13 ids with one to six rows each, in turns, some of which end early: the completions and, to
    rounding, the log-probabilities of the in-place way."""
    lm = build(name)
    prompts = [prompt for count, prompt in enumerate(random_prompts(6), 1) for _ in range(count)]
    prompts = prompts[::2] + prompts[1::2]
    drawn = []
    for ways in ((way,), (InPlaceBatch,)):
        monkeypatch.setattr(support, "WAYS", ways)
        with Native().open(Context()) as sampler:
            drawn.append(ask(sampler, lm, prompts, range(len(prompts)), max_new_tokens=16))
    assert completions(drawn[0]) == completions(drawn[1])
    assert len(set(map(len, completions(drawn[0])))) >= 4
    assert torch.allclose(drawn[0].logprobs, drawn[1].logprobs, atol=1e-4)


def test_a_wrong_attention_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attention that ignores the gap behind a short prompt, or the rows' own tokens, differs from the model's."""
    lm = build("gpt2")
    plain = SharedLayer.attend

    def without_gaps(layer: SharedLayer, *states: Any) -> torch.Tensor:
        layer.cache.position.gaps = None
        return plain(layer, *states)

    def without_own(layer: SharedLayer, queries: Any, keys: Any, values: Any, scale: float) -> torch.Tensor:
        return plain(layer, queries, keys, torch.zeros_like(values), scale)

    for wrong in (without_gaps, without_own):
        monkeypatch.setattr(SharedLayer, "attend", wrong)
        assert examine(lm.model).way is InPlaceBatch
        with monkeypatch.context() as only:
            only.setattr(support, "WAYS", (SharedBatch,))
            assert (
                examine(lm.model).reason == "the model's hidden states with a cache differ from those without a cache."
            )


def test_a_model_that_has_changed_is_examined_again() -> None:
    """Fused layers read plain linear modules; the same modules with adapters would be read without them. Half precision
    keeps the model's own attention, which rounds less."""
    lm = build("llama")
    with Native().open(Context()) as sampler:
        ask(sampler, lm, [[1, 2]], [0])
        assert sampler.examine(lm.model).way is FusedBatch
        get_peft_model(lm.model, LoraConfig(r=2, target_modules=["up_proj"]))
        assert sampler.examine(lm.model).way is SharedBatch
        lm.model.to(torch.bfloat16)
        assert sampler.examine(lm.model).way is InPlaceBatch


@pytest.mark.parametrize("change", ["hook", "method", "module"])
def test_a_module_that_someone_changed_is_called(change: str) -> None:
    """Fused layers call no module of a layer. If someone doubles what a norm or an MLP returns, by a hook, a method or a
    module of his own, after the model was examined, the log-probabilities are still those of `forward`."""
    lm = build("llama")
    layer = lm.model.model.layers[1]

    class Doubled(torch.nn.Module):
        def __init__(self, norm: Any) -> None:
            super().__init__()
            self.norm, self.weight, self.variance_epsilon = norm, norm.weight, norm.variance_epsilon

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return self.norm(states) * 2

    with Native().open(Context()) as sampler:
        ask(sampler, lm, [[1, 2]], [0])
        if change == "hook":
            layer.mlp.register_forward_hook(lambda module, args, output: output * 2)
        elif change == "method":
            plain = layer.mlp.forward
            layer.mlp.forward = lambda states: plain(states) * 2
        else:
            layer.input_layernorm = Doubled(layer.input_layernorm)
        samples = ask(sampler, lm, random_prompts(6), range(6))
    with torch.no_grad():
        again = token_logprobs(lm.model, samples.batch).logprobs
    torch.testing.assert_close(samples.logprobs * samples.batch.mask, again, atol=1e-4, rtol=1e-4)


def test_an_update_of_the_weights_counts(llama: LanguageModel) -> None:
    """Concatenated weights are copies: after an update the next request reads the new weights."""
    lm = build("llama")
    with Native().open(Context()) as sampler:
        before = completions(ask(sampler, lm, random_prompts(8), range(8)))
        with torch.no_grad():
            lm.model.model.layers[0].mlp.up_proj.weight.mul_(-1.0)
            lm.model.model.layers[1].self_attn.k_proj.weight.mul_(-1.0)
        after = ask(sampler, lm, random_prompts(8), range(8))
    assert completions(after) != before
    with Native().open(Context()) as fresh:
        assert completions(ask(fresh, lm, random_prompts(8), range(8))) == completions(after)


def test_the_models_attention_comes_back() -> None:
    """A sampler changes the configuration only within a step, also where the step fails."""
    lm = build("gpt2")
    with Native().open(Context()) as sampler:
        ask(sampler, lm, random_prompts(3), range(3))
    assert lm.model.config._attn_implementation == "sdpa"
