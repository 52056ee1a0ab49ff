"""A pairwise evaluator for studies: a preference judge compares the answers of two arms. The prompts of these answers
are drawn at random. Does not import torch before a judge is opened.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from preflab.errors import UserError
from preflab.evaluation.pairwise import PairwiseEvaluator, PairwiseEvaluatorSpec
from preflab.evaluation.preference.base import PairVerdict, PreferenceJudge, PreferenceQuestion, make_question
from preflab.evaluation.preference.drawing import draw_prompts
from preflab.evaluation.preference.labelled import check_verdicts, read_labelled_pairs
from preflab.evaluation.preference.spec import EXAMPLES, HUMAN, JudgeSettings
from preflab.fields import CountOrAll
from preflab.paths import user_path
from preflab.spec import Context
from preflab.types import Completion, Prompt, Split


class PreferenceEvaluator(JudgeSettings, PairwiseEvaluatorSpec):
    """A judge sees two answers in both orders, and chooses the more helpful answer each time. If the two choices
    disagree, the outcome is a tie.

    `judge`: `openai:MODEL`, `local:NAME` or `reward:PATH`. `prompts`: the number of test prompts; 0 means all. `seed`:
    the random seed for drawing the prompts. All pairs of arms use the same prompts, under all seeds of the study.
    `agreement`: files of labelled pairs, in a form that `read_labelled_pairs` reads. The judge compares these pairs
    first. If the judge agrees with their labels no better than chance, its win rates do not decide any claim.
    `endpoint`, `template`, `margin`: see `JudgeSettings`.
    """

    kind: Literal["preference-judge"] = "preference-judge"
    uncounted: ClassVar[str] = "the replies of a preference judge"
    prompts: CountOrAll = 100
    seed: int = Field(default=0, ge=0)
    agreement: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _needs_a_model(self) -> Self:
        if self.judge.by == HUMAN:
            raise UserError(
                f"`judge: {HUMAN}`: a study does not wait for people. Write {EXAMPLES}, and let people judge the policies "
                "by `preflab winrate A B --judge human`."
            )
        return self

    @contextmanager
    def open(self, context: Context) -> Generator[OpenPreferenceEvaluator]:
        with self.open_judge(context) as judge:
            yield OpenPreferenceEvaluator(
                self, judge, *read_labelled_pairs([user_path(each) for each in self.agreement])
            )


class OpenPreferenceEvaluator(PairwiseEvaluator):
    def __init__(
        self,
        spec: PreferenceEvaluator,
        judge: PreferenceJudge,
        labelled: Sequence[PreferenceQuestion],
        labels: Sequence[float],
    ) -> None:
        self.spec = spec
        self.judge = judge
        self.labelled = labelled
        self.labels = labels
        self.on_labelled: list[PairVerdict] = []
        self.questions: list[PreferenceQuestion] = []
        self.verdicts: list[PairVerdict] = []

    def select_prompts(self, names: Sequence[str]) -> list[str]:
        drawn = set(draw_prompts(sorted(names), self.spec.prompts or len(names), self.spec.seed))
        return [name for name in names if name in drawn]

    def compare(
        self, split: Split, prompts: Sequence[Prompt], first: Sequence[Completion], second: Sequence[Completion]
    ) -> list[float]:
        self.questions = [make_question(*each) for each in zip(prompts, first, second, strict=True)]
        self.judge.check_caps(self.judge.estimate([*self.labelled, *self.questions]))
        self.on_labelled = self.judge.compare(self.labelled)
        self.verdicts = self.judge.compare(self.questions)
        return [verdict.outcome for verdict in self.verdicts]

    def details(self) -> dict[str, Any]:
        """Returns a mapping. `judge`, `template`: the judge's name and template. `orders`: maps each prompt's id to a
        list with one entry for each pair of answers to the prompt. An entry is the list of the judge's two choices, one
        for each order. `labelled`: the check on the labelled pairs (see `CheckedPair`)."""
        orders: dict[str, list[list[str]]] = {}
        for question, verdict in zip(self.questions, self.verdicts, strict=True):
            orders.setdefault(question.prompt.id, []).append([*verdict.orders])
        return {
            "judge": str(self.spec.judge),
            "template": self.spec.template_name,
            "orders": orders,
            "labelled": check_verdicts(self.on_labelled, self.labels),
        }
