"""Finds out whether a model can read a prompt once for several completions, by its configuration and by a trial."""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from preflab.batch import TokenBatch, collate
from preflab.models.layout import Layout, plain_layout, shared_layout

WINDOW_NAME = re.compile("(window|window_size|attention_chunk_size)$")
"""Matches the names of configuration fields that limit to how many earlier columns a token attends. Some families apply
such a window to columns, not to tokens. The local layers of GPT-Neo, for example, also count the masked gap between a
short prompt and its new tokens."""
WIDTHS = 2
"""A shared row has at most this many times as many positions as the model is wide. For a row of L positions and a width
of D, attention needs 4 L D operations per position and layer, and the matrix products about 24 D^2. With L = 2 D,
attention is a quarter of the work, and the part of it that the mask hides is less than the prompt's second reading."""
_limits: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
TRIAL = (([1, 2, 3], [1, 2, 3], [4]), ([5, 6], [7], [2, 3, 5]))  # two completions to one prompt, and one to another


def named_windows(config: Any) -> list[int]:
    """Returns the sizes of the attention windows that a model's configuration names."""
    return [
        size for name, size in config.to_dict().items() if WINDOW_NAME.search(name) and isinstance(size, int) and size
    ]


def run_layout(network: Any, layout: Layout) -> Tensor:
    """Returns the last-layer hidden states of a forward pass, [R,L,D]."""
    if layout.visible is None:
        return network(input_ids=layout.ids, use_cache=False).last_hidden_state
    mask = layout.visible
    if network.config._attn_implementation == "eager":  # adds its mask to the attention logits
        mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo(torch.float32).min)
    return network(
        input_ids=layout.ids, position_ids=layout.positions, attention_mask=mask, use_cache=False
    ).last_hidden_state


def sharing_limit(network: Any) -> int:
    """Returns the largest number of positions of a row that completions share; 0 if the model does not support shared
    rows. The first call for a network compares its states in both layouts."""
    if network not in _limits:
        _limits[network] = _examine(network)
    return _limits[network]


def _examine(network: Any) -> int:
    if network.config._attn_implementation not in ("sdpa", "eager"):
        return 0  # kernels for long rows take no mask of this form
    config = network.config.get_text_config(decoder=True)
    limit = min([WIDTHS * config.hidden_size, *named_windows(config)])
    return limit if _layouts_agree(network) else 0


@torch.no_grad()
def _layouts_agree(network: Any) -> bool:
    """Returns whether the network computes the same states in both layouts. Any error means that this architecture does
    not take the mask or the position ids of the shared layout."""
    device, dtype = network.device, network.dtype
    batch: TokenBatch = collate(*TRIAL).to(device)
    shared = shared_layout(batch, longest=8)
    assert shared is not None
    with torch.autocast(device.type, enabled=False):
        try:
            sides = [layout.gather(run_layout(network, layout)) for layout in (shared, plain_layout(batch))]
        except Exception:
            return False
    counted = torch.cat([torch.ones_like(batch.mask[:, :1]), batch.mask], dim=1)
    ours, expected = (side[counted].float() for side in sides)
    error = (ours - expected).norm(dim=1) / expected.norm(dim=1)
    return bool((error < (1e-4 if dtype == torch.float32 else 0.05)).all())
