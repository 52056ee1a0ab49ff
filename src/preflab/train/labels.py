"""Counts the labels that a run uses, and limits them to the budget if the budget's unit is labels.

A label is the order of a pair in the data, or one score from a reward. The scores of a learned reward model are free,
because the training of the model has already paid for labels. The `Reward` object charges its scores to the meter. This
module charges the labels of the data to the meter.
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
    """Counts and limits the labels of a run. `price`: the number of labels that one prompt costs, which is the number
    of scored answers to the prompt. `remaining`, `affordable` and `require` return None if there is no limit. There is no
    limit if the run has no labels budget or if the scores of the reward are free."""

    def __init__(self, budget: Budget | None, meter: Meter) -> None:
        self.budget = budget
        self.meter = meter

    def remaining(self, reward: Reward | None = None) -> int | None:
        """Returns the number of labels that the budget can still pay for. If `reward` is None, the labels are labels of
        the data. Otherwise the labels are scores of `reward`. Returns None if there is no limit."""
        free = reward is not None and not reward.buys_labels
        if self.budget is None or self.budget.unit != "labels" or free:
            return None
        return max(0, int(self.budget.own - self.meter.used("labels")))

    def buy(self, rows: Sequence[_Row], price: Callable[[_Row], int] = lambda row: 1) -> list[_Row]:
        """Returns the first n rows, where n is as large as the budget allows. Charges the labels of these rows to the
        meter. `price(row)`: the number of labels of a row."""
        costs, left = list(accumulate(price(row) for row in rows)), self.remaining()
        count = len(costs) if left is None else sum(cost <= left for cost in costs)
        self.meter.labelled(costs[count - 1] if count else 0)
        return list(rows[:count])

    def affordable(self, *, reward: Reward, price: int) -> int | None:
        """Returns the number of prompts that the budget can still pay for; None if there is no limit."""
        left = self.remaining(reward)
        return None if left is None else left // price

    def require(self, *, reward: Reward, price: int) -> int | None:
        """Returns the number of prompts that the budget can still pay for; None if there is no limit. Raises
        `UserError` if the budget cannot pay for one prompt."""
        prompts = self.affordable(reward=reward, price=price)
        if prompts == 0:
            raise UserError(
                f"The labels budget does not pay for one prompt's {price} scores. Raise the budget, or score fewer answers."
            )
        return prompts

    def cap_prompts(self, count: int, *, reward: Reward, price: int) -> int:
        """Returns the number of prompts to use. This is `count`, or the smaller number that the budget can still pay
        for, but at least 1."""
        prompts = self.affordable(reward=reward, price=price)
        return count if prompts is None else max(1, min(count, prompts))

    def cap_rounds(self, rounds: int, *, prompts: int, reward: Reward, price: int) -> int:
        """Returns the number of rounds to run, each with `prompts` prompts. This is `rounds`, or a smaller number if
        the budget cannot pay for all rounds. The last round can have fewer prompts. Raises `UserError` if the budget
        cannot pay for one prompt."""
        affordable = self.require(reward=reward, price=price)
        return rounds if affordable is None else min(rounds, -(-affordable // prompts))

    def share_of(self, steps: int, *, reward: Reward, price: int) -> Callable[[int], float]:
        """Returns a function that takes the step and returns the share of the run that is done. This share is the
        larger of two shares: the share of the steps that are done, and the share of the affordable prompts that are
        used. The run therefore does not exceed the budget. Raises `UserError` if the budget cannot pay for one
        prompt."""
        whole = self.require(reward=reward, price=price)

        def share(step: int) -> float:
            rest = self.affordable(reward=reward, price=price)
            return step / steps if whole is None or rest is None else max(step / steps, 1.0 - rest / whole)

        return share
