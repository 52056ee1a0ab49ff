"""A reward for mathematical problems. A solution scores `correct` if its final answer is right, else `wrong`.

The reward reads only the right answers of the *training* problems.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from preflab.errors import UserError
from preflab.meter import Meter
from preflab.rewards.base import Reward, RewardSpec
from preflab.spec import Context
from preflab.testbeds.base import Testbed
from preflab.testbeds.math.judging import MathJudge
from preflab.testbeds.math.right_answers import read_right_answers
from preflab.testbeds.math.verifier import SECONDS, open_verifier
from preflab.types import Completion, Prompt


class FinalAnswer(RewardSpec):
    """A solution scores `correct` if its final answer is equal to the right answer in the data, else `wrong`. If a
    solution marks no final answer, it scores `wrong`. If `unmarked` is true, the last number of such a solution counts
    as its final answer instead. `seconds`: the time limit for the verification of an answer."""

    kind: Literal["math"] = "math"
    correct: float = 10.0
    wrong: float = 0.0
    unmarked: bool = False
    seconds: Annotated[float, Field(gt=0)] = SECONDS

    @contextmanager
    def open(self, context: Context) -> Generator[FinalAnswerReward]:
        """Reads the right answers of the training problems. Raises `UserError` if a training problem has no right
        answer."""
        testbed: Testbed | None = context.testbed
        if testbed is None:
            raise UserError("The reward `math` needs a testbed. Name a testbed.")
        with open_verifier(self.seconds) as verifier:
            rights = read_right_answers(testbed, "train", verifier)
            yield FinalAnswerReward(self, rights, MathJudge(verifier, unmarked=self.unmarked), context.meter)


@dataclass(frozen=True)
class FinalAnswerReward(Reward):
    """Scores solutions by their final answers. `rights`: the right answers of the training problems, by prompt id."""

    spec: FinalAnswer
    rights: Mapping[str, str]
    judge: MathJudge
    meter: Meter
    deterministic: bool = False  # near the time limit, a score depends on the machine's speed
    outcomes: Counter[str] = field(default_factory=Counter[str])

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """Returns the score of each solution. Raises `UserError` if a prompt is not a training problem."""
        if unknown := [prompt.id for prompt in prompts if prompt.id not in self.rights]:
            raise UserError(
                f"The reward `math` does not know problem {unknown[0]!r}: it scores only training problems. Measure other "
                "problems with the evaluator `final-answer`."
            )
        pairs = zip(prompts, completions, strict=True)
        verdicts = [self.judge.judge_solution(answer.text, self.rights[prompt.id]) for prompt, answer in pairs]
        self.meter.labelled(len(verdicts))
        self.outcomes.clear()
        self.outcomes.update(verdict.outcome for verdict in verdicts)
        return [self.spec.correct if verdict.correct else self.spec.wrong for verdict in verdicts]
