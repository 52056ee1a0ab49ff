"""The cost that a method states: counts of answers and rows. `--plan` multiplies them by measured speeds."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class DataSize:
    """The size of a run's training data. `pairs` counts the rankings or the single answers where these are the data;
    `answers`: the answers of each ranking."""

    prompts: int
    demonstrations: int
    pairs: int
    answers: int = 2


@dataclass(frozen=True)
class Cost:
    """The cost of a whole run without a budget. It is an upper bound where the method may find less to learn from (ties, no
    right answer). Under a budget all counts grow or shrink in proportion.

    `drawn`: answers sampled. `scored`: answers that the reward scores. `trained`: rows of the policy, prompt and answer,
    through a forward and a backward pass; `critic_trained`: the same of the critic. `forward`: rows through a forward pass
    alone (reference, critic, the policy before an update).
    """

    drawn: float = 0.0
    scored: float = 0.0
    trained: float = 0.0
    critic_trained: float = 0.0
    forward: float = 0.0

    def times(self, factor: float) -> Cost:
        """Every count times `factor`."""
        return Cost(*(factor * value for value in astuple(self)))


def on_policy_cost(steps: int, rollouts: int, epochs: int) -> Cost:
    """The cost of policy gradients without a critic: each answer is drawn, scored, read by the reference, and trained on."""
    answers = steps * rollouts
    return Cost(drawn=answers, scored=answers, trained=epochs * answers, forward=answers)
