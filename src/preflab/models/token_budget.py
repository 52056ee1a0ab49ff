"""Chooses the token budget of a micro-batch if the settings of a run do not state a budget."""

from __future__ import annotations

from preflab.models import forward
from preflab.models.lm import LanguageModel

ON_GPU = 8192
LEAST_TOKENS, MOST_TOKENS = 1024, 8192
CACHED_STATES = 786_432
"""The number of values of one layer's states that fit into the caches of a CPU: about 3 MiB in fp32. On a CPU, larger
micro-batches are not faster, but their activations take more memory. DPO of a model with 5M parameters (width 256) took
as long with micro-batches of 1,024 tokens as with 8,192 tokens."""


def choose_token_budget(lm: LanguageModel) -> int:
    """Returns the largest number of tokens in a micro-batch for a model on its device. On a GPU, this is 8,192. On a
    CPU, it is 786,432 / width, but at least 1,024 and at most 8,192. The choice depends on nothing else, so a repeated
    run on the same type of device has the same micro-batches."""
    width = forward.backbone(lm.model).config.get_text_config(decoder=True).hidden_size
    return default_token_budget(width, lm.model.device.type)


def default_token_budget(width: int, device: str) -> int:
    """Returns the token budget for a model of this width on this type of device; see `choose_token_budget`."""
    if device != "cpu":
        return ON_GPU
    return max(LEAST_TOKENS, min(MOST_TOKENS, CACHED_STATES // width))
