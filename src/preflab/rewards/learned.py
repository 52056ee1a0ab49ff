"""A reward that is a saved reward model. The settings `mean` and `std` normalise the scores."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Self

from pydantic import Field

from preflab.batch import TokenBatch, collate
from preflab.meter import Meter
from preflab.models import forward
from preflab.models.heads import load_reward_model
from preflab.models.lm import LanguageModel
from preflab.models.locate import locate_scorer
from preflab.models.rewriting import encode_to_score
from preflab.rewards.base import Reward, RewardSpec, check_scores
from preflab.spec import Context
from preflab.types import Completion, Prompt


class SavedScorer(RewardSpec):
    """The base class of the rewards and costs that are saved models. `path`: a directory or a name on the hub.
    `tokens`: the largest number of tokens in a forward pass. `trained_on`: the user's description of the model's
    training data. An evaluator needs this description if preflab did not train the model and the model's files do not
    name the training data."""

    path: str
    tokens: int = Field(default=16384, ge=1)
    trained_on: str = ""

    @property
    def buys_labels(self) -> bool:
        return False

    def saved_models(self) -> tuple[str, ...]:
        return (self.path,)

    def origins(self) -> dict[str, str]:
        return {self.path: self.trained_on} if self.trained_on else {}


class Learned(SavedScorer):
    """The score is (raw - mean) / std, where raw is the score of the saved reward model in `path`."""

    kind: Literal["learned"] = "learned"
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)

    def with_saved_models(self, settings_of: Callable[[str], Mapping[str, Any]]) -> Self:
        return self.model_copy(update=settings_of(self.path))

    @contextmanager
    def open(self, context: Context) -> Generator[LearnedReward]:
        """Loads the model onto the context's device. Raises `UserError` if the model is not a reward model."""
        lm = load_reward_model(locate_scorer(self.path), date=context.date)
        yield LearnedReward(self, replace(lm, model=lm.model.to(context.device).eval()), context.meter)


class LearnedReward(Reward):
    """Scores answers with a reward model or a cost model. Each score is charged as the compute of a forward pass. The
    score is not charged as a label, because the labels were charged when the model was trained.

    `deterministic` is True only on a CPU, because results on a GPU can differ in the last bits from run to run.
    """

    buys_labels = False

    def __init__(self, spec: Learned, lm: LanguageModel, meter: Meter) -> None:
        self.deterministic = lm.model.device.type == "cpu"
        self._spec = spec
        self._lm = lm
        self._meter = meter

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """Returns the normalised scores. Raises `UserError` if a dialogue exceeds the model's context."""
        model, batch = self._lm.model, self._batch(prompts, completions)
        raw = forward.by_micro_batch(model, partial(forward.scores, model), batch, self._spec.tokens)
        self._meter.forward(self._lm.size, batch.tokens)
        normalised = (raw.double() - self._spec.mean) / self._spec.std
        return check_scores(normalised.tolist(), len(completions), f"The reward model {self._spec.path}")

    def _batch(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> TokenBatch:
        pairs = zip(prompts, completions, strict=True)
        rows = [encode_to_score(self._lm, prompt, completion) for prompt, completion in pairs]
        for prompt, (prompt_ids, answer_ids) in zip(prompts, rows, strict=True):
            self._lm.check_fits(prompt, prompt_ids, len(answer_ids))
        prompt_ids, answer_ids = zip(*rows, strict=True)
        return collate(prompt_ids, answer_ids, [completion.truncated for completion in completions])
