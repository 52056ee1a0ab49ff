"""Counts the labels that a run uses, and limits them to the budget if the budget's unit is labels.

A label is the order of a pair in the data, or one score from a reward. The scores of a learned reward model are free,
since the model itself was trained on labels. A reward charges its scores to the meter; this module charges the labels
of the data to the meter.
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
    """Counts and limits the labels of a run. `price`: the number of labels that one prompt costs, that is, how many
    answers to the prompt `reward` scores. If the run has no budget of labels, or if the scores of the reward are free,
    the methods return None, which means no limit."""

    def __init__(self, budget: Budget | None, meter: Meter) -> None:
        self.budget = budget
        self.meter = meter

    def left(self, reward: Reward | None = None) -> int | None:
        """Returns how many labels the budget still allows, from `reward`, or from the data if `reward` is None."""
        free = reward is not None and not reward.buys_labels
        if self.budget is None or self.budget.unit != "labels" or free:
            return None
        return max(0, int(self.budget.own - self.meter.used("labels")))

    def buy(self, rows: Sequence[_Row], price: Callable[[_Row], int] = lambda row: 1) -> list[_Row]:
        """Returns as many of the first rows as the budget pays for, where `price(row)` is the number of labels of a
        row. Charges the labels of these rows to the meter."""
        costs, left = list(accumulate(price(row) for row in rows)), self.left()
        count = len(costs) if left is None else sum(cost <= left for cost in costs)
        self.meter.labelled(costs[count - 1] if count else 0)
        return list(rows[:count])

    def affordable(self, *, reward: Reward, price: int) -> int | None:
        """Returns the number of prompts that the budget still pays for; None if there is no limit."""
        left = self.left(reward)
        return None if left is None else left // price

    def require(self, *, reward: Reward, price: int) -> int | None:
        """Returns the number of prompts that the budget pays for; None if there is no limit. Raises `UserError` if the
        budget does not pay for one prompt."""
        prompts = self.affordable(reward=reward, price=price)
        if prompts == 0:
            raise UserError(
                f"The labels budget does not pay for one prompt's {price} scores. Raise the budget, or score fewer answers."
            )
        return prompts

    def cap_prompts(self, count: int, *, reward: Reward, price: int) -> int:
        """Returns the number of prompts to use: `count`, or as many as the budget still pays for, but at least 1."""
        prompts = self.affordable(reward=reward, price=price)
        return count if prompts is None else max(1, min(count, prompts))

    def cap_rounds(self, rounds: int, *, prompts: int, reward: Reward, price: int) -> int:
        """Returns the number of rounds with `prompts` prompts each: `rounds`, or fewer if the budget does not pay for
        all. The last round may have fewer prompts. Raises `UserError` if the budget does not pay for one prompt."""
        affordable = self.require(reward=reward, price=price)
        return rounds if affordable is None else min(rounds, -(-affordable // prompts))

    def share_of(self, steps: int, *, reward: Reward, price: int) -> Callable[[int], float]:
        """Returns a function that takes the step and returns the share of the run that is done. The result is the share
        of the steps or the share of the affordable prompts, whichever is larger, so that the run ends before it exceeds
        the budget. Raises `UserError` if the budget does not pay for one prompt."""
        whole = self.require(reward=reward, price=price)

        def share(step: int) -> float:
            rest = self.affordable(reward=reward, price=price)
            return step / steps if whole is None or rest is None else max(step / steps, 1.0 - rest / whole)

        return share
