"""The cost model: it learns the order and the sign, needs safety labels, and is kept apart from a reward model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.methods.toy import Judged, Toy, opened, read, untrained

from preflab.batch import collate_pairs
from preflab.errors import UserError
from preflab.methods.cost_model import CostModel, cost_terms, require_safety
from preflab.methods.shared.held_out import PairScores
from preflab.methods.shared.held_out_cost import measure_costs, measure_held_out_costs
from preflab.models import forward
from preflab.models.cost_head import load_cost_model
from preflab.models.heads import load_reward_model, load_scorer, make_reward_model
from preflab.models.verify import find_difference
from preflab.train.learner import Optim
from preflab.types import Completion, Preference, Split

FAST = Optim(learning_rate=5e-3, warmup=0.0)


class Graded(Toy):
    """For each prompt a safe pair, a mixed pair and an unsafe pair; of two answers of a kind the longer is worse."""

    ordered_by = "safety"

    def preferences(self, split: Split) -> list[Preference]:
        kinds = (("good", "good", True, True), ("good", "bad", True, False), ("bad", "bad", False, False))
        return [
            Preference(
                prompt,
                Completion(f"{safer} red"),
                Completion(f"{worse} red red red"),
                chosen_safe=safe,
                rejected_safe=also,
            )
            for prompt in self.prompts(split)
            for safer, worse, safe, also in kinds
        ]


def test_it_learns_order_and_sign(tmp_path: Path) -> None:
    """Protects the method end to end: pairs of two safe and of two unsafe answers are ordered too, every cost has the
    right sign, and the measures of the checkpoint are those of the held-out pairs."""
    with opened(tmp_path, untrained(), testbed=Graded(), token_budget=4096) as parts:
        scorer = CostModel(epochs=40, batch_size=12, optim=FAST).train(parts)
        assert parts.run.meter.used("labels") == 24
    last = read(tmp_path)[-1]
    assert last["validation/accuracy"] == last["validation/sign_accuracy"] == 1.0
    assert last["validation/unsafe_found"] == last["validation/safe_found"] == 1.0
    assert last["validation/score"] == -last["validation/cost_loss"]
    pairs = collate_pairs(Graded().preferences("test"), scorer.encode, limit=16)
    costs = forward.pair_scores(scorer.model, pairs)
    assert pairs.safe is not None and torch.equal(costs < 0, pairs.safe) and bool((costs[:, 0] < costs[:, 1]).all())
    assert measure_held_out_costs(scorer, pairs, 4096)["cost_loss"] == pytest.approx(
        last["validation/cost_loss"], abs=1e-5
    )


def test_terms() -> None:
    """Protects the direction: the rejected answer is the harmful one, and a term stands for each pair."""
    scorer = make_reward_model(untrained(), seed=0)
    pairs = collate_pairs(Judged().preferences("train"), scorer.encode, limit=8)
    safer, harmful = forward.scores(scorer.model, pairs.chosen), forward.scores(scorer.model, pairs.rejected)
    terms, softplus = cost_terms(scorer, pairs), torch.nn.functional.softplus
    torch.testing.assert_close(terms.terms, softplus(safer - harmful) + softplus(-harmful) + softplus(safer))
    torch.testing.assert_close(terms.stats["margin"], harmful - safer)


def test_held_out_measures() -> None:
    """Protects the measures. Costs safer/harmful: -1/2 (safe, unsafe), 1/3 (unsafe, unsafe), 2/1 (safe, safe), -1/0.

    Order: right, right, wrong, right: 3/4. Signs: -1 and 2 right; 1 and 3 right; 2 and 1 wrong; -1 (safe) right and 0
    (unsafe) one half: 5.5 of 8. Of the 4 safe ones 2 right; of the 4 unsafe ones 3.5. The mean cost is 7/8.
    """
    costs = PairScores(torch.tensor([-1.0, 1.0, 2.0, -1.0]), torch.tensor([2.0, 3.0, 1.0, 0.0]))
    safe = torch.tensor([[True, False], [False, False], [True, True], [True, False]])
    measures = measure_costs(costs, safe)
    stated = {
        "accuracy": 0.75,
        "sign_accuracy": 5.5 / 8,
        "safe_found": 0.5,
        "unsafe_found": 3.5 / 4,
        "score_mean": 0.875,
    }
    assert {name: measures[name] for name in stated} == pytest.approx(stated)
    assert measures["score"] == -measures["cost_loss"]
    assert "unsafe_found" not in measure_costs(costs, torch.ones_like(safe))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chosen_safe": None}, "8 of the 8 train pairs lack a safety label"),
        ({"rejected_safe": None}, "8 of the 8 train pairs lack a safety label"),
        ({"chosen_safe": False, "rejected_safe": True}, "'say-red' .train. has an unsafe chosen answer and a safe"),
    ],
)
def test_pairs_that_cannot_teach_safety_are_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    """Protects from a sign that nothing taught, and from pairs that are ordered the other way round."""
    pairs = [replace(pair, **changes) for pair in Judged().preferences("train")]
    with opened(tmp_path, untrained(), testbed=Judged(), preferences=lambda: pairs) as parts:
        with pytest.raises(UserError, match=said):
            CostModel().train(parts)
        with pytest.raises(UserError, match="validation pairs lack a safety label"):
            require_safety(Toy().preferences("validation"), "validation", "")


@pytest.mark.parametrize(
    ("ordered_by", "said"),
    [
        ("paper", "by the rule `paper`, but a cost model needs .* `rule: safety`"),
        ("helpfulness", "by the rule `helpfulness`"),
        ("", "In 16 of the 24 train pairs both answers are safe or both are unsafe"),
    ],
)
def test_an_order_that_is_not_known_to_be_safety_is_refused(ordered_by: str, said: str, tmp_path: Path) -> None:
    """Protects from a cost that learnt helpfulness: the labels of two safe or of two unsafe answers cannot show the order."""
    toy = Graded()
    toy.ordered_by = ordered_by
    with opened(tmp_path, untrained(), testbed=toy) as parts, pytest.raises(UserError, match=said):
        CostModel().train(parts)


def test_a_cost_model_is_not_a_reward_model(tmp_path: Path) -> None:
    """Protects from a policy that seeks harm: what is saved says that higher is worse, and a reward refuses it."""
    with opened(tmp_path / "run", untrained(), testbed=Judged()) as parts:
        scorer = CostModel(optim=FAST).train(parts)
    scorer.save(tmp_path / "cost")
    assert load_cost_model(tmp_path / "cost").role == load_scorer(tmp_path / "cost").role == "cost"
    assert find_difference(scorer, tmp_path / "cost") == ""
    with pytest.raises(UserError, match="is a cost model, and its higher scores are worse"):
        load_reward_model(tmp_path / "cost")
    make_reward_model(untrained(), seed=0).save(tmp_path / "rm")
    assert load_cost_model(tmp_path / "rm").role == "cost"  # made elsewhere, as far as the files say
    (tmp_path / "rm" / "trained_on.json").write_text("[]")
    with pytest.raises(UserError, match=r"is a reward model. The sign of its scores does not indicate safety"):
        load_cost_model(tmp_path / "rm")
