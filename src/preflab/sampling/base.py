"""What a sampler is asked and what it answers.

`Sampler.sample` is the one verb. A row's sample depends on its prompt and its seed, not (beyond rounding) on who shares
its batch, so that a run that resumes, or that samples in other portions, gets the same text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import ConfigDict, Field
from torch import Tensor

from preflab.batch import KeptTokens, TokenBatch
from preflab.models.lm import LanguageModel
from preflab.spec import Spec


class Decoding(Spec):
    """How to draw tokens. `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 leave the distribution whole."""

    model_config = ConfigDict(allow_inf_nan=False)
    max_new_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)


@dataclass(frozen=True)
class Samples:
    """`batch`: prompts and drawn completions, in the order asked. `logprobs[B,T]`: log-probability of each drawn token at
    the sampling temperature, normalised over the kept ids (over the whole vocabulary where nothing was cut; at
    temperature 0: at temperature 1, of the greedy token). `kept`: the ids left by top-k / top-p, None when unrestricted.
    `exact`: the log-probabilities are what `models.forward` computes; where not (another precision), PPO asks it anew.
    """

    batch: TokenBatch
    logprobs: Tensor
    kept: KeptTokens | None = None
    exact: bool = True


class Sampler(Protocol):
    def sample(
        self, lm: LanguageModel, prompts: Sequence[Sequence[int]], *, seeds: Sequence[int], decoding: Decoding
    ) -> Samples:
        """One completion for each prompt's ids (repeat a prompt for several), drawn with the row's own seed."""
        ...
