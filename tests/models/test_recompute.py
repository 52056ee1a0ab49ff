"""Activation checkpointing: the same numbers from fewer kept activations, in evaluation mode."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from preflab.batch import TokenBatch, collate
from preflab.errors import UserError
from preflab.models import forward
from preflab.models.recompute import recompute_layers

LLAMA: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
}
OPT: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "word_embed_proj_dim": 16,
    "ffn_dim": 32,
    "num_hidden_layers": 2,
}


def batch() -> TokenBatch:
    """Two pairs that share their prompts, and so packed rows, and one long row."""
    prompts = [[1, 2, 3, 4, 5, 6]] * 2 + [[7, 8, 9, 10, 11, 12]] * 2
    return collate(prompts, [[13, 14], [15], [16, 17], [18]])


def gradients(model: nn.Module) -> tuple[dict[str, Tensor], int]:
    """The gradients of the summed log-probabilities, and the bytes that the forward pass kept for them."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total = forward.token_logprobs(model, batch()).logprobs.sum()
    total.backward()
    return {name: part.grad for name, part in model.named_parameters() if part.grad is not None}, sum(kept.values())


@pytest.mark.parametrize("bf16", [False, True])
def test_gradients_are_the_same_from_less_memory(bf16: bool) -> None:
    """Protects what users turn on to save memory: gradients to the last bit (the same operations in the same order), from
    activations of which only the layers' inputs are kept. A copy of the model, as a critic is, computes in the same way."""
    torch.manual_seed(0)
    plain = LlamaForCausalLM(LlamaConfig(**LLAMA)).eval()
    if bf16:
        forward.use_bf16(plain)
    saving = copy.deepcopy(plain)
    recompute_layers(forward.backbone(saving))
    (expected, all_bytes), (ours, few_bytes) = gradients(plain), gradients(copy.deepcopy(saving))
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.equal(gradient, ours[name]), name
    weights = sum(part.untyped_storage().nbytes() for part in plain.parameters())
    assert few_bytes - weights < 0.5 * (all_bytes - weights)


def test_dropout_stays_off() -> None:
    """Protects the convention that models train in evaluation mode: transformers' own switch computes layers again only in
    training mode, in which the layers of OPT apply dropout."""
    torch.manual_seed(0)
    plain = OPTForCausalLM(OPTConfig(**OPT, dropout=0.5, num_attention_heads=2)).eval()
    saving = copy.deepcopy(plain)
    recompute_layers(forward.backbone(saving))
    expected, ours = gradients(plain)[0], gradients(saving)[0]
    assert all(torch.equal(expected[name], ours[name]) for name in expected)


def test_sampling_is_untouched() -> None:
    """Protects decoding with a cache, which a layer that is computed again would fill twice."""
    torch.manual_seed(0)
    plain: Any = LlamaForCausalLM(LlamaConfig(**LLAMA)).eval()
    saving: Any = copy.deepcopy(plain)
    recompute_layers(forward.backbone(saving))
    ids = torch.tensor([[1, 2, 3]])
    greedy = [
        model.generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=0).tolist() for model in (plain, saving)
    ]
    assert greedy[0] == greedy[1]


def test_a_network_without_marked_layers_is_refused() -> None:
    with pytest.raises(UserError, match="The layers of Linear cannot be computed again"):
        recompute_layers(nn.Linear(2, 2))
