"""Defines the cost of a method as counts of answers and rows. `--plan` combines these counts with measured speeds."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class DataSize:
    """The size of a run's training data. `pairs`: the number of pairs or, if the data are rankings, the number of
    rankings. `answers`: the number of answers in each pair or ranking. `rated`: the number of single answers with a
    label."""

    prompts: int
    demonstrations: int
    pairs: int
    answers: int = 2
    rated: int = 0


@dataclass(frozen=True)
class Cost:
    """The cost of a whole run that has no budget. Some methods skip prompts whose answers all score the same, or
    prompts without a right answer. For these methods, the cost is an upper bound. If the run has a budget, `times`
    scales all counts by the same factor.

    A row is a prompt with an answer. `drawn`: the number of sampled answers. `scored`: the number of answers that the
    reward scores. `trained`: the number of rows that go through a forward and a backward pass of the policy.
    `critic_trained`: the number of rows that go through a forward and a backward pass of the critic. `forward`: the
    number of rows that go through a forward pass without a backward pass, in the reference, the critic or the policy.
    `labels`: the number of data labels that the method buys. The scores of a reward are not included. `costed`: the
    number of answers that the scorer `Parts.cost` scores. `made`: the number of pairs or rankings that the run makes for
    other runs.
    """

    drawn: float = 0.0
    scored: float = 0.0
    trained: float = 0.0
    critic_trained: float = 0.0
    forward: float = 0.0
    labels: float = 0.0
    costed: float = 0.0
    made: float = 0.0

    def times(self, factor: float) -> Cost:
        """Returns a cost in which every count is multiplied by `factor`."""
        return Cost(*(factor * value for value in astuple(self)))


def on_policy_cost(steps: int, rollouts: int, epochs: int) -> Cost:
    """Returns the cost of policy gradients without a critic. Each answer is drawn once and scored once, and goes
    through one forward pass of the reference. Training uses each answer `epochs` times."""
    answers = steps * rollouts
    return Cost(drawn=answers, scored=answers, trained=epochs * answers, forward=answers)
