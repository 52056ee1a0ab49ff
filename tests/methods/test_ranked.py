"""RRHF and PRO: they learn the order that the scores give, from rankings of any K and from pairs, and pay for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.methods.toy import COLOURS, Toy, opened, read, untrained

from preflab.batch import collate_pairs, collate_rankings
from preflab.errors import UserError
from preflab.losses.ranking import RankedLogprobs, pro_loss, rrhf_loss
from preflab.methods.pro import PRO
from preflab.methods.rrhf import RRHF
from preflab.methods.shared.rankings import count_comparisons, ranking_terms
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim
from preflab.train.settings import Budget
from preflab.types import Completion, Ranking

FAST = Optim(learning_rate=1e-2)
METHODS = (RRHF, PRO)


def rankings() -> list[Ranking]:
    """The right colour, the next, and at every other prompt the one after that, from best to worst."""
    rows: list[Ranking] = []
    for row, prompt in enumerate(Toy().prompts("train")):
        answers = tuple(Completion(COLOURS[(row + place) % 8]) for place in range(2 + row % 2))
        rows.append(Ranking(prompt, answers, tuple(float(-place) for place in range(len(answers)))))
    return rows


def orders(policy: LanguageModel) -> float:
    """The share of the toy's pairs whose right answer is the likelier one."""
    pairs = collate_pairs(Toy().preferences("validation"), policy.encode, limit=8)
    with torch.no_grad():
        chosen, rejected = (forward.sequence_logprobs(policy.model, side) for side in (pairs.chosen, pairs.rejected))
    return float((chosen > rejected).float().mean())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ranked", [rankings, None], ids=["rankings", "pairs"])
def test_it_learns_the_order(tmp_path: Path, method: type[PRO | RRHF], ranked: Any) -> None:
    """Protects the methods end to end, on rankings of unequal K and on pairs, in micro-batches of a prompt or two."""
    policy = untrained()
    before = orders(policy)
    with opened(tmp_path, policy, ranked=ranked, token_budget=24) as parts:
        method(epochs=16, batch_size=4, optim=FAST).train(parts)
    rows = read(tmp_path)
    assert before < 1.0 and orders(policy) == 1.0
    assert rows[-1]["accuracy"] == 1.0 and rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert rows[-1]["best_logprob"] > rows[0]["best_logprob"]
    assert len(rows) == 16 * 2


@pytest.mark.parametrize(("method", "loss"), [(RRHF, rrhf_loss), (PRO, pro_loss)])
def test_terms(method: type[PRO | RRHF], loss: Any) -> None:
    """Protects the way from answers to the loss: each answer's own tokens, lengths and scores, as if it stood alone."""
    policy = untrained()
    spec = method.model_validate({"sft_coefficient": 0.3, **({"score_scale": 2.0} if method is PRO else {})})
    data = collate_rankings(rankings(), policy.encode, limit=8)
    terms = ranking_terms(policy, spec.loss, data)
    extra = {"scale": 2.0} if method is PRO else {}
    for row, ranking in enumerate(rankings()):
        alone = collate_rankings([ranking], policy.encode, limit=8).candidates
        sums = forward.sequence_logprobs(policy.model, alone)[None, :]
        lengths = alone.completion_lengths[None, :]
        one = RankedLogprobs(sums, lengths, torch.tensor([ranking.scores]), lengths > 0)
        assert terms.terms[row].item() == pytest.approx(loss(one, sft_coefficient=0.3, **extra).item(), abs=1e-4)
    assert terms.mask is None and terms.stats["accuracy"].shape == (8,)
    twins = [replace(row, completions=row.completions[:1] * len(row.completions)) for row in rankings()]
    tied = ranking_terms(policy, spec.loss, collate_rankings(twins, policy.encode, limit=8))
    assert tied.stats["accuracy"].tolist() == [0.5] * 8  # the same text cannot be told apart from itself


@pytest.mark.parametrize("method", METHODS)
def test_the_micro_batch_changes_nothing(tmp_path: Path, method: type[PRO | RRHF]) -> None:
    """Protects the loss from the cut: one prompt at a time, or all at once."""
    losses: list[list[float]] = []
    for budget in (1, 4096):
        directory = tmp_path / str(budget)
        with opened(directory, untrained(), ranked=rankings, token_budget=budget) as parts:
            method(epochs=2, batch_size=8, optim=FAST).train(parts)
        losses.append([row["loss"] for row in read(directory)])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_pairs_are_rankings_of_two(tmp_path: Path) -> None:
    """Protects what a run without rankings learns from: its pairs, chosen before rejected, the rows that DPO would draw."""
    with opened(tmp_path, untrained()) as parts:
        drawn = parts.buy(parts.rankings(), 3, count_comparisons)
        same = parts.buy(parts.preferences(), 3)
    assert [(row.prompt, *row.completions) for row in drawn] == [(row.prompt, row.chosen, row.rejected) for row in same]
    assert all(row.scores == (1.0, 0.0) for row in drawn)


@pytest.mark.parametrize(("amount", "paid"), [(100, False), (6, False), (5, False), (6, True)])
def test_labels(tmp_path: Path, amount: int, paid: bool) -> None:
    """Protects the budget: four rankings of 2 and four of 3 answers cost 1 and 2 labels each, 12 in all. A smaller budget
    takes as many, in the order drawn, as it pays for in whole; rankings that a stage has paid for cost nothing."""
    with opened(tmp_path / "all", untrained(), ranked=rankings) as parts:
        order = parts.buy(parts.rankings(), 0, count_comparisons)
        assert len(order) == 8 and parts.run.meter.used("labels") == 12
    budget = Budget(unit="labels", amount=amount)
    with opened(tmp_path / "some", untrained(), ranked=rankings, budget=budget, labels_paid=paid) as parts:
        bought = parts.buy(parts.rankings(), 0, count_comparisons)
        used = parts.run.meter.used("labels")
    assert bought == order[: len(bought)]
    if paid or amount == 100:
        assert bought == order and used == (0 if paid else 12)
    else:
        costs = [len(row.completions) - 1 for row in order]
        assert used == sum(costs[: len(bought)]) <= amount < sum(costs[: len(bought) + 1])


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    """Protects the user from a traceback where there are neither rankings nor pairs."""
    with opened(tmp_path, untrained(), preferences=list) as parts, pytest.raises(UserError, match="no rankings"):
        RRHF().train(parts)
