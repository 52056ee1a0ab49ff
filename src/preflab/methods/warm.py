"""WARM averages the weights of M reward models into one reward model, phi = (1/M) sum_m phi_m (Rame et al. 2024).

All M models must start from the same weights, including the same head. The method `rm` makes such models with
`shared_head: true` and different values of `member`. The average of models that started from different heads is
useless. A score of the averaged model needs one forward pass. A score of an ensemble needs M forward passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field

from preflab.batch import collate_pairs
from preflab.errors import UserError
from preflab.fields import Count
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize
from preflab.methods.shared.held_out import measure_held_out
from preflab.models.heads import load_reward_model
from preflab.models.lm import LanguageModel

HEAD_WEIGHT = "score.weight"
LEAST_COSINE = 0.5
"""The smallest allowed cosine similarity between the heads of two models. Heads drawn with different seeds have a
cosine near 0; heads that started from the same head have a cosine near 1."""


class Warm(Method):
    """Averages reward models. `models`: the paths of two or more saved reward models with the same architecture and the
    same vocabulary. The weights are averaged without further training. The averaged model is validated on the held-out
    pairs, like a trained reward model."""

    kind: Literal["warm"] = "warm"
    product = "reward_model"
    starts_from_policy = False
    models: Annotated[tuple[str, ...], Field(min_length=2)]
    max_completion_tokens: Count = 1024

    def saved_models(self) -> tuple[str, ...]:
        return self.models

    def with_saved_models(self, settings_of: Callable[[str], Mapping[str, Any]]) -> Self:
        return self.model_copy(update={"models": tuple(settings_of(path).get("path", path) for path in self.models)})

    def train(self, parts: Parts) -> LanguageModel:
        run = parts.run
        # 1. Average the weights.
        scorer = average_models([parts.located(path) for path in self.models], date=run.date)
        scorer.model.to(next(parts.policy.model.parameters()).device)
        # 2. Validate the average.
        rows = parts.testbed.preferences("validation")
        held_out = collate_pairs(rows, scorer.encode, limit=self.max_completion_tokens)
        validate = partial(measure_held_out, pairs=held_out, token_budget=parts.token_budget)
        for _ in run.steps(1, {}, policy=scorer, validate=validate):
            run.record.log({"models": len(self.models)})
        return scorer

    def cost(self, size: DataSize) -> Cost:
        """Returns a cost of 0, because averaging weights needs no training."""
        return Cost()


@torch.no_grad()
def average_models(paths: Sequence[Path], *, date: str = "") -> LanguageModel:
    """Loads the reward models and returns one reward model with their mean weights. Only two models are in memory at a
    time. `date`: see `load_reward_model`. Raises `UserError` if a model cannot be averaged with the first model."""
    scorer = load_reward_model(paths[0], date=date)
    weights = dict(scorer.model.named_parameters())
    for number, path in enumerate(paths[1:], start=2):
        member = load_reward_model(path, date=date)
        theirs = dict(member.model.named_parameters())
        same_words = member.tokenizer.get_vocab() == scorer.tokenizer.get_vocab()
        if not same_words or weight_shapes(theirs) != weight_shapes(weights):
            raise UserError(
                f"The weights of {path} and {paths[0]} cannot be averaged: the models have different shapes or vocabularies. "
                "Use models that were trained from the same policy."
            )
        if torch.cosine_similarity(theirs[HEAD_WEIGHT].flatten(), weights[HEAD_WEIGHT].flatten(), dim=0) < LEAST_COSINE:
            raise UserError(
                f"{path} and {paths[0]} did not start from the same head, so their weights cannot be averaged. "
                "Train all models with `shared_head: true`, and give each model a different `member`."
            )
        for name, weight in weights.items():
            weight.lerp_(theirs[name], 1.0 / number)
    return scorer


def weight_shapes(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}
