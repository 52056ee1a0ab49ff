"""A preference judge that is a reward model. It chooses the answer with the higher score."""

from __future__ import annotations

from collections.abc import Sequence

from preflab.evaluation.by_reward import OpenByReward
from preflab.evaluation.preference.base import PairVerdict, PreferenceJudge, PreferenceQuestion


class ScoreJudge(PreferenceJudge):
    """Scores each answer alone, without a view of the other answer. The order of the two answers therefore does not
    matter, and no verdict is unreadable."""

    def __init__(self, evaluator: OpenByReward) -> None:
        self.evaluator = evaluator

    def compare(self, questions: Sequence[PreferenceQuestion]) -> list[PairVerdict]:
        if not questions:
            return []
        outcomes = self.evaluator.compare(
            "test",
            [question.prompt for question in questions],
            [question.first for question in questions],
            [question.second for question in questions],
        )
        return [PairVerdict(question.pair, outcome) for question, outcome in zip(questions, outcomes, strict=True)]
