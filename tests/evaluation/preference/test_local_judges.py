"""The judges that need no endpoint: a local model by the letters' probabilities, and a reward model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.evaluation.preference.asking import question

from preflab.errors import UserError
from preflab.evaluation.by_reward import OpenByReward
from preflab.evaluation.preference.by_letters import LetterJudge, split_letters
from preflab.evaluation.preference.by_score import ScoreJudge
from preflab.evaluation.preference.orders import both_orders
from preflab.evaluation.preference.replies import ReplyCache
from preflab.evaluation.preference.template import read_template
from preflab.models.lm import LanguageModel
from preflab.models.spec import TinyShape
from preflab.models.tiny import make_tiny
from preflab.rewards.base import Reward
from preflab.types import Prompt, Turn


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return make_tiny(TinyShape(width=16, layers=1, heads=2, inner=16, context=2048), seed=0)


def test_the_letter_with_the_higher_probability_is_chosen(lm: LanguageModel, tmp_path: Path) -> None:
    """Protects the local judge: its choice in each order is that of the probabilities that the model itself gives the letters
    after the filled template, computed here row by row."""
    template = read_template("helpful-letter")
    questions = [question(number) for number in range(4)]
    verdicts = LetterJudge(lm, template, ReplyCache(tmp_path / "replies")).compare(questions)
    expected: list[str] = []
    for pair in both_orders(questions):
        ids = lm.encode_prompt(Prompt("x", (Turn("user", template.fill(pair)),)))
        chances: list[float] = []
        for letter in "AB":
            letters = lm.tokenizer(letter, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = lm.model(torch.tensor([[*ids, *letters]])).logits[0].log_softmax(-1)
            chances.append(float(sum(logits[len(ids) - 1 + place, token] for place, token in enumerate(letters))))
        expected.append("first" if (chances[0] > chances[1]) != pair.swapped else "second")
    assert [choice for verdict in verdicts for choice in verdict.orders] == expected


def test_a_local_judge_reads_no_question_twice(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a long command that was killed: the verdicts come from the disk, and are those of the model."""
    template = read_template("helpful-letter")
    questions = [question(number) for number in range(3)]
    asked = LetterJudge(lm, template, ReplyCache(tmp_path / "replies")).compare(questions)
    repeated = LetterJudge(lm, template, ReplyCache(tmp_path / "replies"))
    monkeypatch.setattr(repeated, "_measure_gaps", lambda rows: pytest.fail(f"asked again about {len(rows)} rows"))
    assert repeated.compare(questions) == asked


def test_a_question_that_does_not_fit_is_named(lm: LanguageModel, tmp_path: Path) -> None:
    """Protects from a cut question: the message names the prompt and the judge's context."""
    judge = LetterJudge(lm, read_template("helpful-letter"), ReplyCache(tmp_path / "replies"))
    with pytest.raises(UserError, match=r"about prompt 'p1' has \d+ tokens, but the context of the judge is 2048"):
        judge.compare([question(1, "long " * 1000)])


def test_letters_that_begin_alike_are_told_apart() -> None:
    """Protects tokenizers that write a space before a letter, and refuses one that gives both letters the same ids."""
    assert split_letters([5, 7], [5, 8]) == ([5], (7, 8))
    with pytest.raises(UserError, match="does not distinguish the letters"):
        split_letters([5], [5])


def test_a_reward_model_sees_no_order() -> None:
    """Protects the reward judge: the higher score wins, a difference up to the margin is a tie, and there are no orders."""

    class Length(Reward):
        def score(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[float]:
            return [float(len(completion.text)) for completion in completions]

    judge = ScoreJudge(OpenByReward(Length(), 1.0))
    verdicts = judge.compare([question(1, "xxx", "x"), question(2, "xx", "x"), question(3, "x", "xxx")])
    assert [(verdict.outcome, verdict.orders) for verdict in verdicts] == [(1.0, ()), (0.5, ()), (0.0, ())]
    assert judge.compare([]) == []
