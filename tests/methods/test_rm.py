"""The reward model: it learns what tells answers apart, and what each of its switches changes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.methods.toy import COLOURS, Toy, opened, read, untrained
from torch import Tensor

from preflab.batch import collate_pairs
from preflab.errors import UserError
from preflab.methods.rm import RM, LengthWeight, bradley_terry_terms, length_differences
from preflab.methods.shared.held_out import measure_held_out, score_pairs
from preflab.models import forward
from preflab.models.heads import make_reward_model
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim
from preflab.types import Completion, Preference, Split


def test_terms() -> None:
    """Protects the loss's terms: one a pair, from the scores at each answer's end-of-turn token."""
    policy = untrained()
    toy = Toy()
    scorer = make_reward_model(policy, seed=0)
    pairs = collate_pairs(toy.preferences("train"), scorer.encode, limit=8)
    terms = bradley_terry_terms(scorer, pairs)
    margin = forward.scores(scorer.model, pairs.chosen) - forward.scores(scorer.model, pairs.rejected)
    assert terms.mask is None
    torch.testing.assert_close(terms.terms, torch.log1p(torch.exp(-margin)))
    torch.testing.assert_close(terms.stats["margin"], margin)
    assert terms.stats["accuracy"].tolist() == (margin > 0).float().tolist()
    twins = bradley_terry_terms(scorer, replace(pairs, rejected=pairs.chosen))
    assert twins.stats["accuracy"].tolist() == [0.5] * 8  # what the model does not tell apart is a tie


def test_it_learns(tmp_path: Path) -> None:
    """Protects the method end to end: on answers that one word makes good or bad it orders every held-out pair, surely;
    its labels are counted, and the policy it was made from is left alone."""
    policy = untrained()
    toy = Toy()
    toy.preferences = lambda split: [
        Preference(prompt, Completion(f"good {prompt.turns[0].content}"), Completion(f"bad {prompt.turns[0].content}"))
        for prompt in toy.prompts(split)
    ]
    before = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    with opened(tmp_path, policy, testbed=toy) as parts:
        scorer = RM(epochs=12, batch_size=4, optim=Optim(learning_rate=5e-3, warmup=0.0)).train(parts)
        assert parts.run.meter.used("labels") == 8
    last = read(tmp_path)[-1]
    assert last["validation/accuracy"] == 1.0 and last["validation/loss"] < 0.2
    assert last["validation/score"] == -last["validation/loss"]
    assert read(tmp_path)[0]["loss"] == pytest.approx(math.log(2), abs=0.2)
    held_out = collate_pairs(toy.preferences("validation"), scorer.encode, limit=16)
    assert measure_held_out(scorer, held_out, 100)["loss"] == pytest.approx(last["validation/loss"], abs=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.model.state_dict().items())


def test_no_pairs(tmp_path: Path) -> None:
    """Protects the user from a traceback on data without preferences."""
    policy = untrained()
    with opened(tmp_path, policy, preferences=list) as parts, pytest.raises(UserError, match="no preference pairs"):
        RM().train(parts)


class Stated(Toy):
    """The toy's pairs, each with a margin of 2 and the labeller's doubt."""

    def preferences(self, split: Split) -> list[Preference]:
        return [replace(pair, margin=2.0, probability=0.75) for pair in super().preferences(split)]


FAST = Optim(learning_rate=5e-3, warmup=0.0)


def trained(directory: Path, testbed: Any, **fields: Any) -> LanguageModel:
    with opened(directory, untrained(), testbed=testbed, token_budget=4096) as parts:
        return RM.model_validate({"epochs": 12, "batch_size": 8, "optim": FAST, **fields}).train(parts)


def margins(scorer: LanguageModel, pairs: list[Preference]) -> Tensor:
    return score_pairs(scorer, collate_pairs(pairs, scorer.encode, limit=16), 4096).margin


def test_what_the_labels_say_enters_the_loss(tmp_path: Path) -> None:
    """Protects margin, soft labels and smoothing: the first step's loss is the formula's, and off they change nothing.

    The first scores differ by d. Margin .5 * 2 = 1: ln(1 + e^-(d - 1)). p = .75: .75 ln(1 + e^-d) + .25 ln(1 + e^d).
    """
    plain = trained(tmp_path / "plain", Stated(), epochs=1)
    same = trained(tmp_path / "toy", Toy(), epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), same.model.parameters(), strict=True))
    with opened(tmp_path / "start", untrained()) as parts:
        start = make_reward_model(parts.policy, seed=parts.run.seeds.derive("head"))
    d = margins(start, Toy().preferences("train")).float()
    softplus = torch.nn.functional.softplus
    for fields, expected in (
        ({"margin": 0.5}, softplus(1 - d)),
        ({"soft_labels": True}, 0.75 * softplus(-d) + 0.25 * softplus(d)),
        ({"label_smoothing": 0.1}, 0.9 * softplus(-d) + 0.1 * softplus(d)),
    ):
        directory = tmp_path / next(iter(fields))
        trained(directory, Stated(), epochs=1, **fields)
        assert read(directory)[0]["loss"] == pytest.approx(float(expected.mean()), abs=1e-5)


@pytest.mark.parametrize(("field", "value", "name"), [("margin", 1.0, "margin"), ("soft_labels", True, "probability")])
def test_labels_that_say_nothing_are_refused(tmp_path: Path, field: str, value: Any, name: str) -> None:
    """Protects from an option that does nothing because the data do not state what it needs."""
    with pytest.raises(UserError, match=f"has a {name}"):
        trained(tmp_path, Toy(), **{field: value})


class Long(Toy):
    """A third of the pairs are decided by a word; in two thirds the longer answer wins three times of four."""

    def preferences(self, split: Split) -> list[Preference]:
        pairs: list[Preference] = []
        for row, (prompt, colour) in enumerate(zip(self.prompts(split), COLOURS, strict=True)):
            short = Completion(f"good {colour}")
            pairs.append(Preference(prompt, short, Completion(f"bad {colour}")))
            for words in (3, 4):
                long = Completion(" ".join(["good", *[colour] * words]))
                pairs.append(
                    Preference(prompt, short, long) if row % 4 == words - 3 else Preference(prompt, long, short)
                )
        return pairs


def test_length_is_learnt_apart(tmp_path: Path) -> None:
    """Protects the debiasing: phi takes what length explains, so that the saved scores prefer the longer answer less, and
    the better word no less."""
    words = Toy().prompts("test")
    long = [
        Preference(p, Completion(f"good {c} {c} {c} {c}"), Completion(f"good {c}"))
        for p, c in zip(words, COLOURS, strict=True)
    ]
    good = [Preference(p, Completion(f"good {c}"), Completion(f"bad {c}")) for p, c in zip(words, COLOURS, strict=True)]
    optim = Optim(learning_rate=3e-3, warmup=0.0)
    plain, free = (trained(tmp_path / str(on), Long(), optim=optim, length_debias=on) for on in (False, True))
    before, after = (float(margins(scorer, long).mean()) for scorer in (plain, free))
    assert before > 0.5 and abs(after) < 0.5 * before, (before, after)
    assert margins(free, good).mean() > 0.9 * margins(plain, good).mean() > 0.5
    rows = read(tmp_path / "True")
    assert rows[-1]["length_weight"] > 1 and "length_gradient" not in rows[-1]
    assert "length_weight" not in read(tmp_path / "False")[-1]


def test_the_lengths_weight_follows_the_gradient() -> None:
    """Protects phi's step: what `bt` reports is d loss / d phi, by finite differences, whatever else shifts the loss."""
    policy = untrained()
    scorer = make_reward_model(policy, seed=0)
    pairs = collate_pairs(Long().preferences("train"), scorer.encode, limit=16)
    pairs = replace(pairs, margins=torch.full((len(pairs),), 0.5), probabilities=torch.full((len(pairs),), 0.8))
    length, losses = LengthWeight(length_differences(pairs)), []
    for weight in (0.699, 0.7, 0.701):
        length.load_state_dict({"weight": weight})
        losses.append(bradley_terry_terms(scorer, pairs, length=length, smoothing=0.1))
    slope = (losses[2].terms - losses[0].terms) / 0.002
    torch.testing.assert_close(losses[1].stats["length_gradient"], slope, atol=2e-3, rtol=0)
    length.load_state_dict({"weight": 0.7})
    assert length.follow({"loss": 1.0, "length_gradient": 0.2}) == {"loss": 1.0, "length_weight": pytest.approx(0.5)}
    assert length.state_dict() == {"weight": pytest.approx(0.5)}


def test_lengths_that_do_not_differ(tmp_path: Path) -> None:
    """Protects from a division by no spread: answers of one length have no covariate, and phi stays 0."""
    trained(tmp_path, Toy(), epochs=1, length_debias=True)
    assert read(tmp_path)[-1]["length_weight"] == 0.0


def test_members(tmp_path: Path) -> None:
    """Protects ensembles from being one model several times: a member has its own data order and, unless it is shared, its
    own head; the pairs are the same ones, and member 0 is the model without a number."""
    heads: dict[str, Tensor] = {}
    losses: dict[str, list[float]] = {}
    for name, fields in {
        "none": {},
        "0": {"member": 0},
        "1": {"member": 1},
        "2": {"member": 2},
        "shared": {"member": 1, "shared_head": True},
    }.items():
        scorer = trained(tmp_path / name, Toy(), epochs=1, batch_size=2, optim=Optim(learning_rate=0.0), **fields)
        heads[name] = scorer.model.score.weight.detach()
        losses[name] = [row["loss"] for row in read(tmp_path / name)]
    assert torch.equal(heads["none"], heads["0"]) and losses["none"] == losses["0"]
    assert torch.equal(heads["none"], heads["shared"])
    assert losses["none"] != losses["shared"] and sum(losses["none"]) == pytest.approx(sum(losses["shared"]), abs=1e-5)
    assert not torch.equal(heads["1"], heads["2"]) and not torch.equal(heads["none"], heads["1"])
