"""Chooses the number of tokens of a micro-batch if a run does not name it."""

from __future__ import annotations

from preflab.models import forward
from preflab.models.lm import LanguageModel

ON_GPU = 8192
LEAST_TOKENS, MOST_TOKENS = 1024, 8192
CACHED_STATES = 786_432
"""Numbers of one layer's states that a processor's caches still hold, roughly: 3 MiB in fp32. Larger micro-batches are
not faster there, but their activations take more memory. DPO of 5M parameters (width 256) took as long with micro-batches
of 1,024 tokens as with 8,192."""


def choose_token_budget(lm: LanguageModel) -> int:
    """Returns the most tokens of a micro-batch for a model on its device. On a GPU, this is 8,192. On a processor, it is
    786,432 / width, but at least 1,024 and at most 8,192. The choice depends on nothing else, so that a run on the
    same kind of device repeats exactly."""
    if lm.model.device.type != "cpu":
        return ON_GPU
    width = forward.backbone(lm.model).config.get_text_config(decoder=True).hidden_size
    return max(LEAST_TOKENS, min(MOST_TOKENS, CACHED_STATES // width))
