"""A saved reward model as a reward: the model's own scores, normalised, whatever the batch."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from tests.models.conftest import save_chat
from tests.models.test_template import THINKING
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from preflab.errors import UserError
from preflab.meter import Meter
from preflab.models.heads import load_reward_model, make_reward_model
from preflab.models.lm import LanguageModel
from preflab.models.load import load_directory, load_model
from preflab.models.rewriting import encode_to_score
from preflab.models.spec import ModelSpec, TinyShape
from preflab.rewards.learned import Learned, LearnedReward
from preflab.rewards.learned_cost import LearnedCost
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


@torch.no_grad()
def test_reasoning_is_scored_as_the_template_writes_it(tmp_path: Path) -> None:
    """Protects scores of answers with reasoning of their own: the template writes it in place of its empty block, and the
    score was that of a text with two blocks. Cut answers, names of tokens and plain answers keep their ids."""
    place = save_chat(tmp_path / "m", THINKING, plain=("<think>", "</think>"), rows=320)
    make_reward_model(load_directory(place), seed=1).save(tmp_path / "rm")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "rm")
    prompt = Prompt("a", (Turn("user", "Is it so?"), Turn("assistant", "yes"), Turn("user", "And that?")))
    for text, truncated in product(
        ("<think>\nhm\n</think>\n\nyes", "hm</think>yes", "<think>hm", "yes"), (False, True)
    ):
        turns = [{"role": turn.role, "content": turn.content} for turn in (*prompt.turns, Turn("assistant", text))]
        rendered = tokenizer.apply_chat_template(turns, tokenize=False)
        kept = rendered.removesuffix("<|im_end|>\n" if truncated else "\n")
        card = plain(torch.tensor([tokenizer(kept, add_special_tokens=False).input_ids])).logits[0, 0]
        ours = opened(tmp_path / "rm").score([prompt], [Completion(text, truncated)])
        assert ours == pytest.approx([float(card)], abs=1e-5), text
    spelled = Completion("<think>\n<|im_end|>\n</think>\n\nyes")
    ids = [index for part in encode_to_score(load_reward_model(tmp_path / "rm"), prompt, spelled) for index in part]
    assert ids.count(tokenizer.convert_tokens_to_ids("<think>")) == 1 and ids.count(tokenizer.eos_token_id) == 4


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


def test_a_learned_cost(model: LanguageModel, saved: Path, tmp_path: Path) -> None:
    """Protects the boundary at 0: a cost is the raw score over `scale`, and the moments of a stage do not move it. A saved
    cost model is refused as a reward."""
    replace(model, role="cost").save(tmp_path / "cost")
    spec = LearnedCost(path="stage:harm", scale=4.0)
    assert (spec.saved_models(), spec.cost_models(), spec.buys_labels) == (("stage:harm",), ("stage:harm",), False)
    placed = spec.with_saved_models(lambda _: {"path": str(tmp_path / "cost"), "mean": 9.0, "std": 3.0})
    meter = Meter()
    with placed.open(Context(meter=meter)) as cost:
        costs = cost.score(PROMPTS, ANSWERS)
    with Learned(path=str(saved)).open(Context()) as reward:
        raw = reward.score(PROMPTS, ANSWERS)
    assert costs == pytest.approx([score / 4 for score in raw]) and meter.used("labels") == 0 < meter.counts["flops"]
    with pytest.raises(UserError, match="is a cost model"), Learned(path=placed.path).open(Context()):
        pass
