"""The cost of a method as counts of answers and rows; `--plan` combines these counts with measured speeds."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class DataSize:
    """The size of a run's training data. If the data are rankings, `pairs` is the number of rankings. `answers`: the
    number of answers in each ranking. `rated`: the number of single answers that have a label each."""

    prompts: int
    demonstrations: int
    pairs: int
    answers: int = 2
    rated: int = 0


@dataclass(frozen=True)
class Cost:
    """The cost of a whole run without a budget. Some methods skip prompts whose answers all score the same, or prompts
    without a right answer. For these methods, the cost is an upper bound. If the run has a budget, all counts are
    scaled by the same factor.

    `drawn`: answers sampled. `scored`: answers scored by the reward. `trained`: rows (a prompt with an answer) that go
    through a forward and a backward pass of the policy. `critic_trained`: rows that go through a forward and a backward
    pass of the critic. `forward`: rows that go through a forward pass alone (of the reference, of the critic, or of the
    policy before an update). `labels`: data labels that the method buys; scores of a reward do not count. `costed`:
    answers scored by the arm's cost.
    """

    drawn: float = 0.0
    scored: float = 0.0
    trained: float = 0.0
    critic_trained: float = 0.0
    forward: float = 0.0
    labels: float = 0.0
    costed: float = 0.0

    def times(self, factor: float) -> Cost:
        """Returns a cost in which every count is multiplied by `factor`."""
        return Cost(*(factor * value for value in astuple(self)))


def on_policy_cost(steps: int, rollouts: int, epochs: int) -> Cost:
    """Returns the cost of policy gradients without a critic. Each answer is drawn once and scored once, and goes
    through one forward pass of the reference. Training uses each answer `epochs` times."""
    answers = steps * rollouts
    return Cost(drawn=answers, scored=answers, trained=epochs * answers, forward=answers)
