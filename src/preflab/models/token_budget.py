"""Chooses the token budget of a micro-batch. The choice is used if the settings of a run do not contain a token
budget."""

from __future__ import annotations

from preflab.models import forward
from preflab.models.lm import LanguageModel

ON_GPU = 8192
LEAST_TOKENS, MOST_TOKENS = 1024, 8192
CACHED_STATES = 786_432
"""The number of values in one layer's states that fit into the caches of a CPU: about 3 MiB in fp32. On a CPU, larger
micro-batches are not faster, but their activations need more memory. In a measurement of DPO with a model of 5M
parameters (width 256), micro-batches of 1,024 tokens were as fast as micro-batches of 8,192 tokens."""


def choose_token_budget(lm: LanguageModel) -> int:
    """Returns the token budget for a model on its device, that is, the largest number of tokens in a micro-batch. The
    budget is 8,192 on a GPU. On a CPU, it is 786,432 / width, but at least 1,024 and at most 8,192. It depends only on
    the width and the type of device, so a repeated run on the same type of device has the same micro-batches."""
    width = forward.backbone(lm.model).config.get_text_config(decoder=True).hidden_size
    return default_token_budget(width, lm.model.device.type)


def default_token_budget(width: int, device: str) -> int:
    """Returns the token budget for a model whose hidden states have the given width, on this type of device. See
    `choose_token_budget`."""
    if device != "cpu":
        return ON_GPU
    return max(LEAST_TOKENS, min(MOST_TOKENS, CACHED_STATES // width))
