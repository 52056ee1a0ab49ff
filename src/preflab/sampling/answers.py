"""Answers to one prompt, as text."""

from __future__ import annotations

from preflab.models.lm import LanguageModel
from preflab.sampling.base import Decoding, Sampler
from preflab.types import Prompt


def draw_answers(
    lm: LanguageModel, sampler: Sampler, prompt: Prompt, decoding: Decoding, *, count: int, seed: int
) -> list[str]:
    """`count` answers, each with a seed of its own. Raises `UserError` where the prompt leaves no room for one."""
    ids = lm.encode_prompt(prompt)
    lm.check_fits(prompt, ids, 1)
    seeds = [seed * 1_000_003 + i for i in range(count)]
    samples = sampler.sample(lm, [ids] * count, seeds=seeds, decoding=decoding)
    return [completion.text for completion in lm.completions(samples.batch)]
