"""The interface of samplers: the method `Sampler.sample`, its settings `Decoding` and its result `Samples`.

Up to rounding errors, the sample of a row depends only on the row's prompt and seed, not on the other rows of the
batch. Therefore a resumed run, or a run with another batch size, draws the same texts.
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
    """The settings for drawing tokens. `temperature` 0 means greedy decoding; `top_k` 0 and `top_p` 1 keep the whole
    vocabulary."""

    model_config = ConfigDict(allow_inf_nan=False)
    max_new_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)


@dataclass(frozen=True)
class Samples:
    """The result of a sampler.

    batch: the prompts and the drawn completions, in the order of the request.
    logprobs[B,T]: the log-probability of each drawn token at the sampling temperature, normalised over the kept ids
        (over the vocabulary if `kept` is None). For greedy decoding: the log-probability of the token at temperature 1.
    kept: the token ids that top-k / top-p kept; None if sampling was unrestricted.
    exact: whether `models.forward` computes the same log-probabilities. False if the sampler used another precision.
        The policy-gradient methods then compute the log-probabilities again.
    """

    batch: TokenBatch
    logprobs: Tensor
    kept: KeptTokens | None = None
    exact: bool = True


class Sampler(ABC):
    """Samples completions. A sampler charges the tokens of the prompts and the sampled tokens to the meter of its
    context."""

    @abstractmethod
    def sample(
        self, lm: LanguageModel, prompts: Sequence[Sequence[int]], *, seeds: Sequence[int], decoding: Decoding
    ) -> Samples:
        """Draws one completion for each prompt (given as token ids), with the seed of its row. To get several
        completions of a prompt, repeat the prompt.

        Raises `UserError` if a prompt does not fit the context, or if the sampler does not support a setting.
        """

    def answer(self, lm: LanguageModel, prompt: Prompt, decoding: Decoding, *, count: int, seed: int) -> list[str]:
        """Returns the texts of `count` answers to one prompt, each drawn with a different seed. Raises `UserError` if
        the prompt fills the model's context."""
        ids = lm.encode_prompt(prompt)
        lm.check_fits(prompt, ids, 1)
        seeds = [seed * 1_000_003 + i for i in range(count)]
        samples = self.sample(lm, [ids] * count, seeds=seeds, decoding=decoding)
        return [completion.text for completion in lm.completions(samples.batch)]
