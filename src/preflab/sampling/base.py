"""The interface of samplers: the method `Sampler.sample`, the settings `Decoding` and the result `Samples`.

Up to rounding errors, the sample of a row depends only on the row's prompt and seed. It does not depend on the other
rows of the batch. Therefore a resumed run, or a run with another batch size, draws the same texts. A sampler that
cannot promise this says so by `Sampler.repeatable`.
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
    """The settings for drawing tokens. A `temperature` of 0 means greedy decoding. With `top_k` 0 and `top_p` 1, tokens
    are drawn from the whole vocabulary."""

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
        (over the vocabulary if `kept` is None). For greedy decoding: the log-probability at temperature 1.
    kept: the token ids that top-k and top-p kept for each token; None if top-k and top-p were off.
    exact: True if `models.forward` computes the same log-probabilities. False otherwise, for example if the sampler
        computed in bf16. If False, the policy-gradient methods compute the log-probabilities again.
    importance_cap: the largest weight of the truncated importance correction (see
        `losses.policy.truncated_importance`), which the policy-gradient methods apply to samples that are not exact.
        None for no correction.
    """

    batch: TokenBatch
    logprobs: Tensor
    kept: KeptTokens | None = None
    exact: bool = True
    importance_cap: float | None = None


class Sampler(ABC):
    """The base class of samplers, which draw completions of prompts. A sampler adds the numbers of prompt tokens and of
    drawn tokens to the meter of its context.

    `repeatable`: whether the same call draws the same samples again, up to rounding errors. If not, the journal of a
    run stores the samples that the policy learns from, so that a resumed run reads the same samples.
    """

    repeatable: bool = True

    @abstractmethod
    def sample(
        self, lm: LanguageModel, prompts: Sequence[Sequence[int]], *, seeds: Sequence[int], decoding: Decoding
    ) -> Samples:
        """Draws one completion for each prompt. `prompts`: the token ids of each prompt. `seeds`: one seed for each
        prompt. To draw several completions of a prompt, repeat the prompt.

        Raises `UserError` if a prompt does not fit into the context, or if the sampler does not support a setting.
        """

    def answer(self, lm: LanguageModel, prompt: Prompt, decoding: Decoding, *, count: int, seed: int) -> list[str]:
        """Returns the texts of `count` answers to one prompt, each drawn with a different seed. Raises `UserError` if
        the prompt fills the model's context."""
        ids = lm.encode_prompt(prompt)
        lm.check_fits(prompt, ids, 1)
        seeds = [seed * 1_000_003 + i for i in range(count)]
        samples = self.sample(lm, [ids] * count, seeds=seeds, decoding=decoding)
        return [completion.text for completion in lm.completions(samples.batch)]
