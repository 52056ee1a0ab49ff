"""The stage that ranks the policy's own samples: which answers stand in it, with which scores, and what is dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.methods.toy import COLOURS, Scored, opened, untrained

from preflab.errors import UserError
from preflab.methods.rankings import Rankings, make_ranking
from preflab.sampling.base import Decoding
from preflab.train.settings import Budget
from preflab.types import Completion, Prompt, Ranking

SHORT = Decoding(max_new_tokens=4)


class Judged(Scored):
    """A reward that counts a verdict for each answer, as tests do."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        self.outcomes = Counter({"judged": len(completions)})
        return super().score(prompts, completions)


def made(directory: Path, reward: Any = None, **fields: Any) -> list[Ranking]:
    with opened(directory, untrained(), reward=reward or Scored(lambda text: float(len(text)))) as parts:
        return list(Rankings(samples=3, decoding=SHORT, **fields).train(parts))


def test_samples_are_ranked(tmp_path: Path) -> None:
    """Protects the stage: distinct answers of each prompt with the reward's own scores, the same each time."""
    rows = made(tmp_path / "a")
    assert rows == made(tmp_path / "b")
    assert len({row.prompt.id for row in rows}) == len(rows) > 0
    for row in rows:
        assert 2 <= len(row.completions) <= 3 and len({answer.text for answer in row.completions}) > 1
        assert row.scores == tuple(float(len(answer.text)) for answer in row.completions)
        assert len(set(row.scores)) > 1
    assert len(made(tmp_path / "c", prompts=2)) <= 2


def test_the_demonstration_is_a_candidate(tmp_path: Path) -> None:
    """Protects `demonstration`: the testbed's answer stands with the samples, scored by the same reward, not put on top."""
    reward = Scored(lambda text: 1.0 if len(text.split()) == 1 else 2.0)
    rows = made(tmp_path, reward, demonstration=True)
    assert rows
    for row in rows:
        colour = row.prompt.id.removeprefix("say-")
        assert (Completion(colour), 1.0) in zip(row.completions, row.scores, strict=True)


def test_demonstrations_are_no_samples_of_the_policy(tmp_path: Path) -> None:
    """The run's records show and count only the sampled answers as the policy's, not the demonstrations."""
    reward = Judged(lambda text: float(len(text)))
    with opened(tmp_path, untrained(), reward=reward) as parts:
        Rankings(prompts=2, samples=3, decoding=SHORT, demonstration=True).train(parts)
        assert parts.run.record.verdicts == {"judged": 6}
        assert {sample["text"] for sample in parts.run.record.samples}.isdisjoint(COLOURS)


def test_equal_scores_are_dropped(tmp_path: Path) -> None:
    """Protects from prompts that teach no order; where none is left the user is told."""
    with pytest.raises(UserError, match="different score"):
        made(tmp_path, Scored(lambda text: 1.0))


def test_an_answer_drawn_twice_stands_once() -> None:
    """Protects the contrast: a repeated answer would be contrasted with the others twice; the first one's score stays."""
    prompt = Prompt("p", ())
    answers = [(Completion("a"), 1.0), (Completion("b"), 2.0), (Completion("a"), 3.0), (Completion("a", True), 0.0)]
    distinct = (Completion("a"), Completion("b"), Completion("a", True))
    assert make_ranking(prompt, answers) == Ranking(prompt, distinct, (1.0, 2.0, 0.0))


def test_a_labels_budget_caps_the_prompts(tmp_path: Path) -> None:
    """Protects the budget: at 3 scores a prompt, 10 labels are 3 prompts."""
    reward = Scored(lambda text: float(len(text)))
    with opened(tmp_path, untrained(), reward=reward, budget=Budget(unit="labels", amount=10)) as parts:
        assert len(Rankings(samples=3, decoding=SHORT).train(parts)) <= 3
    with opened(tmp_path / "none", untrained()) as parts, pytest.raises(UserError, match="--reward"):
        Rankings(decoding=SHORT).train(parts)
