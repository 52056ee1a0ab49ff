"""Decides whether a model can process packed rows (see `models.layout`). The decision depends on the model's
configuration and on a trial run."""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from preflab.batch import TokenBatch, collate
from preflab.models.layout import Layout, packed_layout, plain_layout
from preflab.models.recompute import recomputing

WINDOW_NAME = re.compile("(window|window_size|attention_chunk_size)$")
"""Matches the names of configuration fields that limit attention to a window of earlier positions. In some model
families, padding counts as part of such a window. The local layers of GPT-Neo, for example, also count the padding
between a short prompt and its new tokens."""
WIDTHS = 2
"""The largest length of a packed row, as a multiple of the model's width. For a row of L positions and a width of D,
attention needs 4 L D operations per position and layer. The matrix products need about 24 D^2 operations. With L = 2 D,
attention is a quarter of the work, and the mask hides at least half of this quarter."""
TRIAL = (([1, 2, 3], [1, 2, 3], [4], [6]), ([5, 6], [7], [2], [3]))
"""The prompts and completions of a trial batch. Two completions have the same prompt, and two short groups fit into one
row."""
_agreements: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def named_windows(config: Any) -> list[int]:
    """Returns the sizes of all attention windows in a model's configuration."""
    return [
        size for name, size in config.to_dict().items() if WINDOW_NAME.search(name) and isinstance(size, int) and size
    ]


def run_layout(network: Any, layout: Layout) -> Tensor:
    """Runs a network on the rows of a layout. Returns the hidden states of the last layer, [R,L,D]."""
    if layout.visible is None:
        with recomputing(network):
            return network(input_ids=layout.ids, use_cache=False).last_hidden_state
    mask = layout.visible
    # The implementation "eager" adds the mask to the attention logits, so the mask must contain numbers.
    if network.config._attn_implementation == "eager":
        mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo(torch.float32).min)
    with recomputing(network):
        output = network(input_ids=layout.ids, position_ids=layout.positions, attention_mask=mask, use_cache=False)
    return output.last_hidden_state


def arrange(network: Any, batch: TokenBatch) -> Layout:
    """Returns the packed layout of a batch if this layout saves computation and the network can process it. Returns the
    plain layout otherwise. Before the first packed batch of a network, the network's states in both layouts are
    compared."""
    packed = packed_layout(batch, longest_row(network))
    if packed is None:
        return plain_layout(batch)
    if network not in _agreements:
        _agreements[network] = _layouts_agree(network)
    return packed if _agreements[network] else plain_layout(batch)


def longest_row(network: Any) -> int:
    """Returns the largest number of positions in a packed row. The mask of the packed layout replaces the network's
    attention window, so a row must not be longer than this window. Returns 0 if the network's attention does not accept
    such a mask. Kernels for long rows, for example, do not accept it."""
    if network.config._attn_implementation not in ("sdpa", "eager"):
        return 0
    config = network.config.get_text_config(decoder=True)
    return min([WIDTHS * config.hidden_size, *named_windows(config)])


@torch.no_grad()
def _layouts_agree(network: Any) -> bool:
    """Returns True if the network computes the same states in both layouts, up to rounding. Returns False if the packed
    layout raises an error, because the architecture then does not accept its mask or its position ids."""
    device, dtype = network.device, network.dtype
    batch: TokenBatch = collate(*TRIAL).to(device)
    packed = packed_layout(batch, longest=8)
    assert packed is not None
    with torch.autocast(device.type, enabled=False):
        try:
            sides = [layout.gather(run_layout(network, layout)) for layout in (packed, plain_layout(batch))]
        except Exception:
            return False
    counted = torch.cat([torch.ones_like(batch.mask[:, :1]), batch.mask], dim=1)
    ours, expected = (side[counted].float() for side in sides)
    error = (ours - expected).norm(dim=1) / expected.norm(dim=1)
    return bool((error < (1e-4 if dtype == torch.float32 else 0.05)).all())
