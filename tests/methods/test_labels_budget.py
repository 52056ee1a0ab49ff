"""A labels budget binds: no method buys more labels than it has, and what is bought is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.methods.toy import Scored, opened, read, untrained

from preflab.errors import UserError
from preflab.methods.dpo import DPO
from preflab.methods.dpo_iter import DPOIter
from preflab.methods.expert_iteration import ExpertIteration
from preflab.methods.grpo import GRPO
from preflab.methods.pairs import PairDraw, Pairs
from preflab.methods.ppo import PPO
from preflab.methods.raft import RAFT
from preflab.methods.rankings import Rankings
from preflab.methods.reinforce_pp import ReinforcePP
from preflab.methods.remax import ReMax
from preflab.methods.rloo import RLOO
from preflab.sampling.base import Decoding
from preflab.train.settings import Budget

SHORT = Decoding(max_new_tokens=4)


class Labelled(Scored):
    """Charges a label for each score, as the reward `tests` does."""

    meter: Any = None

    def score(self, prompts: Any, completions: Any) -> list[float]:
        self.meter.labelled(len(completions))
        return super().score(prompts, completions)


def bought(directory: Path, method: Any, *, amount: float, charged: float = 0.0, paid: bool = False) -> float:
    reward = Labelled(lambda text: float(len(text)))
    budget = Budget(unit="labels", amount=amount, charged=charged)
    with opened(directory, untrained(), budget=budget, reward=reward, labels_paid=paid) as parts:
        reward.meter = parts.run.meter
        method.train(parts)
        return parts.run.meter.used("labels")


@pytest.mark.parametrize("amount", [5, 8, 20])
def test_ppo_stops_at_its_labels(tmp_path: Path, amount: int) -> None:
    """Protects the budget: 4 rollouts a step for 100 steps, cut to exactly the labels there are."""
    method = PPO(steps=100, rollouts=4, mini_batches=1, decoding=SHORT)
    assert bought(tmp_path, method, amount=amount) == amount
    assert len(read(tmp_path)) == -(-amount // 4)


STEPS = {"steps": 100, "mini_batches": 1, "decoding": SHORT}
GROUPED = {
    "grpo": (GRPO(rollouts=8, group=4, **STEPS), 4),
    "rloo": (RLOO(rollouts=8, group=4, **STEPS), 4),
    "raft": (RAFT(rollouts=8, group=4, **STEPS), 4),
    "reinforce++": (ReinforcePP(rollouts=4, **STEPS), 1),
    "remax": (ReMax(rollouts=4, **STEPS), 2),
    "remax, two answers": (ReMax(rollouts=4, group=2, **STEPS), 3),
}


@pytest.mark.parametrize("amount", [9, 16, 22])
@pytest.mark.parametrize("name", list(GROUPED))
def test_whole_groups_are_bought(name: str, amount: int, tmp_path: Path) -> None:
    """Protects the budget where an answer is worth nothing without its group, or without the greedy answer: as many whole
    ones as the labels pay for, all of them, and none beyond. ReMax's prompt costs its answers and one more."""
    method, cost = GROUPED[name]
    assert bought(tmp_path, method, amount=amount) == amount // cost * cost
    assert read(tmp_path)[-1]["progress"] == 1.0


@pytest.mark.parametrize("amount", [9, 16, 40])
def test_replaced_groups_count(tmp_path: Path, amount: int) -> None:
    """Protects from dynamic sampling that draws on when the labels are used: a reward that never differs buys whole groups
    to the last, in two draws a step where there is enough, and learns nothing from them."""
    method = GRPO(rollouts=8, group=4, dynamic_sampling=True, most_draws=2, **STEPS)
    reward = Labelled(lambda text: 1.0)
    with opened(tmp_path, untrained(), budget=Budget(unit="labels", amount=amount), reward=reward) as parts:
        reward.meter = parts.run.meter
        with pytest.raises(UserError, match="had anything to learn from"):
            method.train(parts)
        assert parts.run.meter.used("labels") == amount // 4 * 4
    assert len(read(tmp_path)) == -(-(amount // 4) // 4)


@pytest.mark.parametrize(("amount", "rounds"), [(16, 1), (40, 3), (200, 9)])
def test_expert_iteration_trains_on_what_it_bought(tmp_path: Path, amount: int, rounds: int) -> None:
    """Rounds of 4 prompts x 4 samples: 16 labels are one, 40 two and a half, 200 all nine (144)."""
    method = ExpertIteration(rounds=9, prompts=4, samples=4, right=1, decoding=SHORT, epochs=1)
    assert bought(tmp_path, method, amount=amount) == min(amount, 144)
    rows = read(tmp_path)
    assert {row["round"] for row in rows} == set(range(rounds)) and rows[-1]["progress"] == 1.0


@pytest.mark.parametrize(
    "method",
    [
        GRPO(rollouts=8, group=4, **STEPS),
        ExpertIteration(samples=4),
        DPOIter(draw=PairDraw(samples=4)),
        Pairs(draw=PairDraw(samples=4)),
        Rankings(samples=4),
    ],
    ids=lambda method: method.kind,
)
def test_labels_for_less_than_a_prompt_are_refused(method: Any, tmp_path: Path) -> None:
    """Protects the budget from a minimum that is bought all the same."""
    with pytest.raises(UserError, match="does not pay for one prompt's 4 scores"):
        bought(tmp_path, method, amount=3)


@pytest.mark.parametrize(
    "method",
    [Pairs(draw=PairDraw(samples=2, rule="best-worst", decoding=SHORT)), Rankings(samples=2, decoding=SHORT)],
    ids=lambda method: method.kind,
)
def test_stages_stop_at_their_labels(method: Any, tmp_path: Path) -> None:
    """Protects the budget of a stage that is run by itself: 7 labels are three prompts of two answers, and none beyond."""
    assert bought(tmp_path, method, amount=7) == 6


def test_dpo_takes_as_many_pairs_as_it_may(tmp_path: Path) -> None:
    """Protects the budget of data's labels: 3 of the 8 pairs; pairs that a stage has paid for cost nothing more."""
    assert bought(tmp_path / "a", DPO(epochs=1, batch_size=1), amount=3) == 3
    assert len(read(tmp_path / "a")) == 3
    assert bought(tmp_path / "b", DPO(epochs=1, batch_size=1), amount=9, charged=9, paid=True) == 0
    assert len(read(tmp_path / "b")) == 8


def test_dpo_iter_trains_on_what_it_bought(tmp_path: Path) -> None:
    """Protects from labels that are paid and thrown away: rounds of 4 prompts x 2 samples under 20 labels are 8 + 8 + 4, and
    every round's pairs are passed over."""
    method = DPOIter(rounds=9, prompts=4, draw=PairDraw(samples=2, rule="best-worst", decoding=SHORT), batch_size=1)
    assert bought(tmp_path, method, amount=20) <= 20
    rows = read(tmp_path)
    assert rows[-1]["labels"] == 20
    last = [row for row in rows if row["round"] == 2]
    assert len(last) == max(1, last[0]["pairs"])


def test_stages_that_use_more_than_the_budget_are_refused() -> None:
    """Protects from an arm without a budget of its own that runs all the same."""
    with pytest.raises(UserError, match="Raise the budget"):
        Budget(unit="labels", amount=10, charged=11)
