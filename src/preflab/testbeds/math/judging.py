"""Judges solutions by their final answers."""

from __future__ import annotations

from preflab.errors import UserError
from preflab.sandbox.judging import Judge, TestedAnswers
from preflab.testbeds.math.final import find_final_answer
from preflab.testbeds.math.verifier import Verifier
from preflab.types import Verdict
from preflab.work import report_each

NO_ANSWER = "no-answer"
"""The outcome of a solution that does not mark a final answer."""


class MathJudge(Judge):
    """Judges a solution by its final answer. Each problem has exactly one test. The field `output` of this test is the
    right answer. `unmarked`: whether the last number of a solution counts as the final answer if the solution does not
    mark a final answer."""

    deterministic = False  # near the time limit, a verdict depends on the machine's speed

    def __init__(self, verifier: Verifier, *, unmarked: bool) -> None:
        self.verifier, self.unmarked = verifier, unmarked

    def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
        """Returns one verdict for each solution: passed, failed, no-answer or timeout. Raises `UserError` if the
        problem of a solution has no test with the right answer."""
        if not all(tests for _, tests in answers):
            raise UserError(
                "Mathematical problems have no public tests that could select a solution. "
                "For best-of-n, set `selector: reward` and use a learned reward."
            )
        solutions = report_each("solutions judged", answers, len(answers))
        return [self.judge_solution(text, str(tests[0].output)) for text, tests in solutions]

    def judge_solution(self, text: str, right: str) -> Verdict:
        """Returns the verdict on one solution. `right`: the right answer."""
        answer = find_final_answer(text, unmarked=self.unmarked)
        outcome = NO_ANSWER if answer is None else self.verifier.verify(right, answer)
        if outcome == "passed":
            return Verdict(outcome, (True,))
        return Verdict(outcome, (False,), {"input": "", "expected": right, "got": answer or ""})
