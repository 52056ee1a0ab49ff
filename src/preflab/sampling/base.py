"""The protocol of a sampler: the method `Sampler.sample`, its settings `Decoding` and its result `Samples`.

Up to rounding, a row's sample depends on the row's prompt and seed alone, not on the other rows of the batch. So a run that
resumes, or that samples in batches of another size, gets the same text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ConfigDict, Field
from torch import Tensor

from preflab.batch import KeptTokens, TokenBatch
from preflab.models.lm import LanguageModel
from preflab.spec import Spec
from preflab.types import Prompt


class Decoding(Spec):
    """How to draw tokens. `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 keep the whole vocabulary."""

    model_config = ConfigDict(allow_inf_nan=False)
    max_new_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)


@dataclass(frozen=True)
class Samples:
    """What a sampler drew.

    batch: prompts and drawn completions, in the order of the request.
    logprobs[B,T]: the log-probability of each drawn token at the sampling temperature, normalised over the kept ids (over
        the vocabulary if `kept` is None). At temperature 0: the log-probability of the greedy token at temperature 1.
    kept: the token ids that top-k / top-p kept; None if sampling was unrestricted.
    exact: whether `models.forward` computes the same log-probabilities. If it does not, since the sampler used another
        precision, PPO computes the log-probabilities again.
    """

    batch: TokenBatch
    logprobs: Tensor
    kept: KeptTokens | None = None
    exact: bool = True


class Sampler(ABC):
    """An opened sampler. It charges the tokens that it reads and draws to the meter of its context."""

    @abstractmethod
    def sample(
        self, lm: LanguageModel, prompts: Sequence[Sequence[int]], *, seeds: Sequence[int], decoding: Decoding
    ) -> Samples:
        """Draws one completion for the ids of each prompt, with the seed of its row. To get several completions, repeat the
        prompt.

        Raises `UserError` for a prompt that does not fit the context, and for settings that the sampler does not support.
        """

    def answer(self, lm: LanguageModel, prompt: Prompt, decoding: Decoding, *, count: int, seed: int) -> list[str]:
        """Returns `count` answers to one prompt as text, each drawn with a seed of its own. Raises `UserError` if the prompt
        leaves no room for an answer."""
        ids = lm.encode_prompt(prompt)
        lm.check_fits(prompt, ids, 1)
        seeds = [seed * 1_000_003 + i for i in range(count)]
        samples = self.sample(lm, [ids] * count, seeds=seeds, decoding=decoding)
        return [completion.text for completion in lm.completions(samples.batch)]
