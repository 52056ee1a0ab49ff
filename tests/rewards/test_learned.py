"""A saved reward model as a reward: the model's own scores, normalised, whatever the batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from preflab.errors import UserError
from preflab.meter import Meter
from preflab.models.heads import make_reward_model
from preflab.models.lm import LanguageModel
from preflab.models.load import load_model
from preflab.models.spec import ModelSpec, TinyShape
from preflab.rewards.learned import Learned, LearnedReward
from preflab.spec import Context
from preflab.types import Completion, Prompt, Turn

WORDS = ("add", "then", "sort", "please")
PROMPTS = [Prompt(str(i), (Turn("user", " ".join(["please", "add", str(i), *["then"] * (i % 4)])),)) for i in range(9)]
ANSWERS = [Completion(" ".join(["sort", "add"] * (1 + i % 3)), truncated=i == 4) for i in range(9)]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    shape = TinyShape(width=16, inner=16, layers=2, heads=2, context=32, words=WORDS)
    return make_reward_model(load_model(ModelSpec(name="tiny", tiny=shape), seed=0), seed=1)


@pytest.fixture(scope="module")
def saved(model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rm")
    model.save(path)
    return path


def opened(saved: Path, **fields: float) -> LearnedReward:
    with Learned.model_validate({"path": str(saved), **fields}).open(Context()) as reward:
        return reward


def test_scores_are_the_models_own(saved: Path, model: LanguageModel) -> None:
    """Each score is the head's number at the row's last counted token: the end token, or the last one if truncated."""
    scores = opened(saved).score(PROMPTS, ANSWERS)
    for prompt, answer, score in zip(PROMPTS, ANSWERS, scores, strict=True):
        ids = torch.tensor([model.encode_prompt(prompt) + model.encode_completion(answer)])
        with torch.no_grad():
            hidden = model.model.base_model(input_ids=ids).last_hidden_state[:, -1]
            assert score == pytest.approx(model.model.score(hidden).item(), abs=1e-5)


def test_the_micro_batch_changes_nothing(saved: Path) -> None:
    """One row at a time, or all at once."""
    assert opened(saved, tokens=1).score(PROMPTS, ANSWERS) == pytest.approx(
        opened(saved).score(PROMPTS, ANSWERS), abs=1e-5
    )


def test_normalisation_is_the_specs(saved: Path) -> None:
    """score = (raw - mean) / std, with the same file behind it."""
    raw = opened(saved).score(PROMPTS, ANSWERS)
    assert opened(saved, mean=0.5, std=0.25).score(PROMPTS, ANSWERS) == pytest.approx([(x - 0.5) / 0.25 for x in raw])


def test_it_charges_a_forward_pass_and_no_label(saved: Path, model: LanguageModel) -> None:
    """2N FLOP for each token of prompts and answers, without padding: N parameters, 2N x tokens."""
    meter = Meter()
    with Learned(path=str(saved)).open(Context(meter=meter)) as reward:
        reward.score(PROMPTS, ANSWERS)
    rows = zip(PROMPTS, ANSWERS, strict=True)
    tokens = sum(len(model.encode_prompt(p)) + len(model.encode_completion(a)) for p, a in rows)
    assert meter.counts["forward_tokens"] == tokens and meter.used("labels") == 0
    assert meter.used("compute") == 2 * model.size * tokens


def test_an_answer_without_any_token_is_scored(saved: Path) -> None:
    """A truncated answer of special tokens alone decodes to no text; it is scored as an empty answer that ended."""
    reward = opened(saved)
    none, ended = (reward.score(PROMPTS[:1], [Completion("", truncated=flag)]) for flag in (True, False))
    assert none == ended


def test_what_is_no_reward_model_is_refused(tmp_path: Path, saved: Path) -> None:
    """A path that is absent, and a dialogue that is longer than the model's context of 32."""
    with pytest.raises(UserError), Learned(path=str(tmp_path / "absent")).open(Context()):
        pass
    with pytest.raises(UserError, match="context is 32"):
        opened(saved).score(PROMPTS[:1], [Completion("sort " * 40)])
