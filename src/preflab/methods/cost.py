"""The cost that a method states: counts of answers and rows. `--plan` multiplies these counts by measured speeds."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class DataSize:
    """The size of a run's training data. If the data are rankings or single answers, `pairs` counts these. `answers`: the
    number of answers in each ranking."""

    prompts: int
    demonstrations: int
    pairs: int
    answers: int = 2


@dataclass(frozen=True)
class Cost:
    """The cost of a whole run without a budget. It is an upper bound if the method may have less to learn from (because
    answers tie, or no answer is right). Under a budget all counts grow or shrink in proportion.

    `drawn`: answers sampled. `scored`: answers that the reward scores. `trained`: rows (prompt and answer) that go through a
    forward and a backward pass of the policy. `critic_trained`: rows that go through a forward and a backward pass of the
    critic. `forward`: rows that go through a forward pass alone (of the reference, of the critic, or of the policy before an
    update).
    """

    drawn: float = 0.0
    scored: float = 0.0
    trained: float = 0.0
    critic_trained: float = 0.0
    forward: float = 0.0

    def times(self, factor: float) -> Cost:
        """A cost in which every count is multiplied by `factor`."""
        return Cost(*(factor * value for value in astuple(self)))


def on_policy_cost(steps: int, rollouts: int, epochs: int) -> Cost:
    """The cost of policy gradients without a critic: each answer is drawn, scored, read by the reference, and trained on."""
    answers = steps * rollouts
    return Cost(drawn=answers, scored=answers, trained=epochs * answers, forward=answers)
