"""The evaluator for mathematical problems. A solution scores 1 if its final answer is right, otherwise 0."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Annotated, Literal

from pydantic import Field

from preflab.errors import UserError
from preflab.evaluation.base import Evaluator, EvaluatorSpec, Grade, GradedPrompt, Summary
from preflab.evaluation.measure import Measure, known_measure
from preflab.evaluation.programs import rates
from preflab.evaluation.settings import Evaluation
from preflab.spec import Context
from preflab.testbeds.base import SPLITS, Testbed
from preflab.testbeds.math.judging import NO_ANSWER, MathJudge
from preflab.testbeds.math.right_answers import read_right_answers
from preflab.testbeds.math.verifier import SECONDS, open_verifier
from preflab.types import Completion, Prompt, Split

_ANSWERED = "answered"


class FinalAnswers(EvaluatorSpec):
    """Compares the final answer of each solution with the right answer in the data. `unmarked`: if true, the last
    number of a solution counts as its final answer when the solution marks no final answer. `seconds`: the time limit
    for the verification of an answer."""

    kind: Literal["final-answer"] = "final-answer"
    unmarked: bool = False
    seconds: Annotated[float, Field(gt=0)] = SECONDS

    def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
        if evaluation.submissions:
            raise UserError(
                "`submissions` (k@n) filters programs by their public tests, but mathematical problems have no tests. "
                "Remove `submissions`."
            )
        note = "the share of solutions that mark a final answer, right or wrong"
        answered = Measure(name=_ANSWERED, share=True, better="higher", note=note)
        return (*(known_measure(name) for name in evaluation.rates), answered)

    @contextmanager
    def open(self, context: Context) -> Generator[FinalAnswerEvaluator]:
        """Reads the right answers of the validation and test splits. Raises `UserError` if a problem has no right
        answer."""
        testbed: Testbed | None = context.testbed
        if testbed is None:
            raise UserError("The evaluator final-answer needs a testbed. Name a testbed.")
        with open_verifier(self.seconds) as verifier:
            rights: dict[Split, dict[str, str]] = {}
            for split in SPLITS[1:]:
                if testbed.prompts(split):
                    rights[split] = read_right_answers(testbed, split, verifier)
            yield FinalAnswerEvaluator(testbed, rights, MathJudge(verifier, unmarked=self.unmarked))


class FinalAnswerEvaluator(Evaluator):
    """Grades solutions by their final answers. `rights`: the right answers by split and prompt id."""

    def __init__(self, testbed: Testbed, rights: Mapping[Split, Mapping[str, str]], judge: MathJudge) -> None:
        self.testbed, self.rights, self.judge = testbed, rights, judge

    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        """Returns one grade for each solution, by its final answer."""
        rights = self.rights[split]
        pairs = zip(prompts, completions, strict=True)
        verdicts = [self.judge.judge_solution(answer.text, rights[prompt.id]) for prompt, answer in pairs]
        return [
            Grade(float(verdict.correct), verdict, {_ANSWERED: float(verdict.outcome != NO_ANSWER)})
            for verdict in verdicts
        ]

    def summarise(self, rows: Sequence[GradedPrompt], summary: Summary) -> list[dict[str, float]]:
        """Returns each problem's pass@k, and the share of its solutions that mark an answer."""
        values = rates(summary.settings, self.testbed, rows, summary.seed_for)
        answered = [fmean(grade.values[_ANSWERED] for grade in row.grades) for row in rows]
        return [rate | {_ANSWERED: share} for rate, share in zip(values, answered, strict=True)]
