"""The labels of a run: those that the run buys, and those that its labels budget still pays for.

A label is the order of a pair in the data, or one score from a reward. If the reward is a model that itself learned from
labels, its scores are free. A reward charges the meter for its scores itself; the labels of the data are charged here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TypeVar

from preflab.errors import UserError
from preflab.meter import Meter
from preflab.rewards.base import Reward
from preflab.train.settings import Budget

_Row = TypeVar("_Row")


class Labels:
    """`price`: the labels that one prompt costs, which is the number of its answers that `reward` scores. If a method
    returns None, the run has no labels budget or the scores of the reward are free."""

    def __init__(self, budget: Budget | None, meter: Meter) -> None:
        self.budget = budget
        self.meter = meter

    def left(self, reward: Reward | None = None) -> int | None:
        """The number of labels that the budget still allows: of the data if `reward` is None, otherwise of `reward`."""
        free = reward is not None and not reward.buys_labels
        if self.budget is None or self.budget.unit != "labels" or free:
            return None
        return max(0, int(self.budget.own - self.meter.used("labels")))

    def buy(self, rows: Sequence[_Row], price: Callable[[_Row], int] = lambda row: 1) -> list[_Row]:
        """Buys the first rows, as many as the budget pays for at `price(row)` labels each. Charges their labels."""
        costs, left = list(accumulate(price(row) for row in rows)), self.left()
        count = len(costs) if left is None else sum(cost <= left for cost in costs)
        self.meter.labelled(costs[count - 1] if count else 0)
        return list(rows[:count])

    def affordable(self, *, reward: Reward, price: int) -> int | None:
        """The number of prompts that the budget still pays for."""
        left = self.left(reward)
        return None if left is None else left // price

    def require(self, *, reward: Reward, price: int) -> int | None:
        """Returns `affordable` at the start of a run. Raises `UserError` if the budget does not pay for one prompt."""
        prompts = self.affordable(reward=reward, price=price)
        if prompts == 0:
            raise UserError(
                f"The labels budget does not pay for one prompt's {price} scores. Raise it, or ask for fewer."
            )
        return prompts

    def cap_prompts(self, count: int, *, reward: Reward, price: int) -> int:
        """The number of prompts to use: `count`, or fewer if the budget does not pay for `count` prompts, but at least 1."""
        prompts = self.affordable(reward=reward, price=price)
        return count if prompts is None else max(1, min(count, prompts))

    def cap_rounds(self, rounds: int, *, prompts: int, reward: Reward, price: int) -> int:
        """The number of rounds of `prompts` prompts: `rounds`, or fewer if the budget does not pay for all. The last round
        may have fewer prompts. Raises `UserError` if the budget does not pay for one prompt."""
        affordable = self.require(reward=reward, price=price)
        return rounds if affordable is None else min(rounds, -(-affordable // prompts))

    def share_of(self, steps: int, *, reward: Reward, price: int) -> Callable[[int], float]:
        """Returns a function from the step to the share of the run that is done. This is the share of the steps or the share
        of the prompts that the budget pays for, whichever is larger, so that no label is bought beyond the budget. Raises
        `UserError` if the budget does not pay for one prompt."""
        whole = self.require(reward=reward, price=price)

        def share(step: int) -> float:
            rest = self.affordable(reward=reward, price=price)
            return step / steps if whole is None or rest is None else max(step / steps, 1.0 - rest / whole)

        return share
