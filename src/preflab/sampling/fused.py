"""Runs models with Llama's architecture on prompts and new tokens, with few operations for each layer.

The weights of linear modules with the same input are concatenated. One matrix product gives the queries, keys and
values of a layer. Another matrix product gives the two inner states of the layer's MLP. The modules of transformers
call about twice as many operations. In small models, calling the operations takes longer than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm

from preflab.sampling.shared import SharedLayer

NETWORKS = ("LlamaModel", "MistralModel", "Qwen2Model", "Qwen3Model")
"""The classes of transformers whose layers have Llama's architecture."""
FIXED_ROTATIONS = ("default", "linear", "llama3", "yarn")
"""The types of rotary embeddings whose angle at a position is the same in every forward pass."""
FUSED_BYTES = 2**29
"""`FusedLayers` runs only models whose layers have at most this size in bytes. In larger models, the arithmetic takes
longer than calling the operations."""


class Stacked(NamedTuple):
    """The concatenated weights and biases of linear modules with the same input."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, *modules: nn.Linear) -> Stacked:
        biases: list[Any] = [module.bias for module in modules]  # None for a module without a bias
        weight = modules[0].weight if len(modules) == 1 else torch.cat([module.weight for module in modules])
        return cls(weight, None if biases[0] is None else torch.cat(biases))

    def __call__(self, states: Tensor) -> Tensor:
        return linear(states, self.weight, self.bias)


class Layer(NamedTuple):
    """The weights of one layer. `heads`, `groups`: the numbers of query heads (H) and key heads (G).
    `head_gains[H+G,1,D]`: the gain of the norm of each query head and each key head (Qwen 3); None if the heads are not
    normalised."""

    heads: int
    groups: int
    scale: float
    eps: float
    before_attention: Tensor
    queries_keys_values: Stacked
    head_gains: Tensor | None
    out: Stacked
    before_mlp: Tensor
    gate_up: Stacked
    activation: Callable[[Tensor], Tensor]
    down: Stacked


class FusedLayers:
    """A model without its vocabulary head, with concatenated weights. `columns`: the largest number of positions in a
    row.

    The concatenated weights are copies. After an update of the model, make a new object of this class.
    """

    def __init__(self, network: Any, columns: int) -> None:
        self.embed = network.embed_tokens
        self.gain, self.eps = network.norm.weight, network.norm.variance_epsilon
        self.layers = [_read_layer(layer) for layer in network.layers]
        positions = torch.arange(columns, device=self.gain.device)[None]
        cos, sin = (table[0] for table in network.rotary_emb(self.gain, position_ids=positions))
        half = cos.shape[1] // 2
        self.cos, self.sin = cos, torch.cat([-sin[:, :half], sin[:, half:]], dim=1)

    def __call__(self, tokens: Tensor, positions: Tensor, blocks: Sequence[SharedLayer]) -> Tensor:
        """Runs the network on one new token of each row, `tokens[N]`, at `positions[N]`. Writes the keys and values of
        the tokens into `blocks`. Returns the last hidden states, [N,D]."""
        return self._run(tokens[:, None], positions[:, None], blocks, slice(None))

    def read(self, ids: Tensor, lengths: Tensor, blocks: Sequence[SharedLayer]) -> Tensor:
        """Runs the network on the prompts `ids[G,P]` of `lengths[G]` tokens. Writes their keys and values into
        `blocks`. Returns the hidden state of each prompt's last token, [G,D]. In the last layer, the MLP runs only on
        the last token of each prompt."""
        count, width = ids.shape
        last = torch.arange(count, device=ids.device) * width + lengths - 1
        return self._run(ids, torch.arange(width, device=ids.device)[None], blocks, last)

    def _run(self, ids: Tensor, positions: Tensor, blocks: Sequence[SharedLayer], wanted: Tensor | slice) -> Tensor:
        """Runs the network on `ids[N,T]`. Returns the final hidden states of the tokens `wanted`. `wanted`: indices
        into the tokens, counted row by row."""
        hidden = self.embed(ids).flatten(0, 1)
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        for layer, block in zip(self.layers, blocks, strict=True):
            states = layer.queries_keys_values(rms_norm(hidden, hidden.shape[1:], layer.before_attention, layer.eps))
            attended = _attend(layer, block, states.view(*ids.shape, -1), cos, sin)
            if block is blocks[-1]:
                attended, hidden = attended[wanted], hidden[wanted]
            hidden = hidden + layer.out(attended)
            gate, up = layer.gate_up(rms_norm(hidden, hidden.shape[1:], layer.before_mlp, layer.eps)).chunk(2, dim=1)
            hidden = hidden + layer.down(layer.activation(gate) * up)
        return rms_norm(hidden, hidden.shape[1:], self.gain, self.eps)


def find_obstacle(network: Any) -> str:
    """Returns the reason why `FusedLayers` cannot run a network, or '' if there is no such reason."""
    if type(network).__name__ not in NETWORKS or not type(network).__module__.startswith("transformers."):
        return "the model's layers do not have Llama's architecture."
    if network.rotary_emb.rope_type not in FIXED_ROTATIONS:
        return f"the model's rotary embedding is {network.rotary_emb.rope_type!r}."
    if any(_is_altered(module) for module in network.modules()):
        return "some modules of the model have adapters or hooks, or are quantised."
    if sum(weight.nbytes for weight in network.layers.parameters()) > FUSED_BYTES:
        return "the weights of the model's layers need too much memory to be copied."
    return ""


def _is_altered(module: Any) -> bool:
    """Checks whether a module may compute something different from an unmodified module of transformers or torch."""
    known = type(module).__module__.startswith(("transformers.", "torch.nn."))
    hooked = bool(module._forward_hooks or module._forward_pre_hooks)
    return not known or hooked or module.forward != MethodType(type(module).forward, module)


def _linears(layer: Any) -> list[Any]:
    attention, mlp = layer.self_attn, layer.mlp
    return [
        *(attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj),
        *(mlp.gate_proj, mlp.up_proj, mlp.down_proj),
    ]


def _read_layer(layer: Any) -> Layer:
    query, key, value, out, gate, up, down = _linears(layer)
    attention = layer.self_attn
    heads, groups = (module.out_features // attention.head_dim for module in (query, key))
    gains = None
    if type(attention).__name__ == "Qwen3Attention":
        gains = torch.cat([attention.q_norm.weight.expand(heads, -1), attention.k_norm.weight.expand(groups, -1)])
    return Layer(
        heads,
        groups,
        attention.scaling,
        layer.input_layernorm.variance_epsilon,
        layer.input_layernorm.weight,
        Stacked.of(query, key, value),
        gains,
        Stacked.of(out),
        layer.post_attention_layernorm.weight,
        Stacked.of(gate, up),
        layer.mlp.act_fn,
        Stacked.of(down),
    )


def _attend(layer: Layer, block: SharedLayer, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Writes the keys and values of N rows of T tokens, and returns the result of attention for these tokens, [N*T,D].

    states[N,T,W]: the queries, keys and values of each token.
    """
    heads = states.unflatten(2, (layer.heads + 2 * layer.groups, -1)).transpose(1, 2)
    turned, values = heads.split((layer.heads + layer.groups, layer.groups), dim=1)
    if layer.head_gains is not None:
        turned = rms_norm(turned, turned.shape[3:], eps=layer.eps) * layer.head_gains[:, None]
    turned = torch.addcmul(turned * cos, turned.roll(turned.shape[3] // 2, dims=3), sin)
    queries, keys = turned.split((layer.heads, layer.groups), dim=1)
    attended = block.attend(queries, *block.update(keys, values), layer.scale)
    return attended.transpose(1, 2).reshape(states.shape[0] * states.shape[1], -1)
