"""Finds out whether a model can take packed rows (see `models.layout`), by its configuration and by a trial."""

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
"""Matches the names of configuration fields that limit attention to a window of earlier positions. Some families count
the columns of the padded input in such a window, not only its tokens. The local layers of GPT-Neo, for example, also
count the masked gap between a short prompt and its new tokens."""
WIDTHS = 2
"""The largest length of a packed row, in multiples of the model's width. For a row of L positions and a width of D,
attention needs 4 L D operations per position and layer, and the matrix products need about 24 D^2. With L = 2 D,
attention is a quarter of the work, and the mask hides half of this quarter or more."""
TRIAL = (([1, 2, 3], [1, 2, 3], [4], [6]), ([5, 6], [7], [2], [3]))
"""Prompts and completions: two completions share a prompt, and two short groups share a row."""
_agreements: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def named_windows(config: Any) -> list[int]:
    """Returns the sizes of the attention windows that a model's configuration names."""
    return [
        size for name, size in config.to_dict().items() if WINDOW_NAME.search(name) and isinstance(size, int) and size
    ]


def run_layout(network: Any, layout: Layout) -> Tensor:
    """Returns the last-layer hidden states of a forward pass, [R,L,D]."""
    if layout.visible is None:
        with recomputing(network):
            return network(input_ids=layout.ids, use_cache=False).last_hidden_state
    mask = layout.visible
    if network.config._attn_implementation == "eager":  # adds its mask to the attention logits
        mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo(torch.float32).min)
    with recomputing(network):
        output = network(input_ids=layout.ids, position_ids=layout.positions, attention_mask=mask, use_cache=False)
    return output.last_hidden_state


def arrange(network: Any, batch: TokenBatch) -> Layout:
    """Returns the layout in which the network computes the batch fastest. Before a network takes packed rows for the
    first time, its states in both layouts are compared."""
    packed = packed_layout(batch, longest_row(network))
    if packed is None:
        return plain_layout(batch)
    if network not in _agreements:
        _agreements[network] = _layouts_agree(network)
    return packed if _agreements[network] else plain_layout(batch)


def longest_row(network: Any) -> int:
    """Returns the largest number of positions of a packed row. Returns 0 if the network's attention does not take the
    mask of the packed layout; kernels for long rows, for example, do not take this mask. The mask also replaces the
    network's own attention window, so a row must not be longer than the window."""
    if network.config._attn_implementation not in ("sdpa", "eager"):
        return 0
    config = network.config.get_text_config(decoder=True)
    return min([WIDTHS * config.hidden_size, *named_windows(config)])


@torch.no_grad()
def _layouts_agree(network: Any) -> bool:
    """Returns whether the network computes the same states in both layouts. Any error means that this architecture does
    not take the mask or the position ids of the packed layout."""
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
