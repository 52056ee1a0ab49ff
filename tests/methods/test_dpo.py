"""DPO: exactly ln 2 where it starts, the right signs, a reference that is asked once, and a margin that grows."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.methods.toy import Toy, opened, read, untrained
from torch import Tensor

from preflab.batch import PairBatch, collate_pairs
from preflab.errors import UserError
from preflab.losses.preference import (
    PREFERENCE_LOSSES,
    REFERENCE_FREE,
    PairLogprobs,
    PreferenceLoss,
    dpo_loss,
    ipo_loss,
    preference_loss,
)
from preflab.methods import dpo
from preflab.methods.dpo import DPO, pair_terms, reference_logprobs, with_reference
from preflab.models import forward, lora
from preflab.models.lm import LanguageModel
from preflab.models.spec import LoRA
from preflab.spec import parse_spec
from preflab.train.learner import Optim

FAST = Optim(learning_rate=5e-3, warmup=0.0)


def pairs_of(policy: LanguageModel, toy: Any) -> PairBatch:
    return collate_pairs(toy.preferences("train"), policy.encode, limit=8)


def adapted(policy: LanguageModel) -> LanguageModel:
    return policy.with_model(lora.attach(policy.model, LoRA(rank=2, alpha=4.0), seed=0))


@pytest.mark.parametrize("make", [lambda policy: policy, adapted], ids=["full", "lora"])
def test_step_0_is_ln_2(tmp_path: Path, make: Callable[[LanguageModel], LanguageModel]) -> None:
    """Protects the reference: the loss before any update is ln 2, every pair is a tie and no log-ratio has moved, through the
    whole path and however the reference's and the update's micro-batches differ; with fresh adapters too."""
    policy = untrained()
    with opened(tmp_path, make(policy), token_budget=13) as parts:
        DPO(epochs=1, batch_size=5, beta=0.5, optim=FAST).train(parts)
    first, second = read(tmp_path)
    assert first["loss"] == pytest.approx(math.log(2), abs=2e-6)
    assert first["accuracy"] == 0.5 and first["margin"] == pytest.approx(0, abs=5e-6)
    assert first["chosen_fall"] == pytest.approx(0, abs=5e-6)
    assert abs(second["loss"] - math.log(2)) > 1e-5


def test_terms_to_the_bit(tmp_path: Path) -> None:
    """Protects from any difference between the paths of policy and reference: on the very same micro-batches the terms are
    the float ln 2, and IPO's 1/(4 beta^2) = 25 at beta .1."""
    policy = untrained()
    toy = Toy()
    with opened(tmp_path, policy, token_budget=10_000) as parts:
        data = pairs_of(policy, toy)
        data = with_reference(data, reference_logprobs(parts, data))
    order = sorted(range(8), key=lambda row: -int(data.chosen.lengths[row]))
    assert order == list(range(8))  # one length: the reference saw these rows in this order
    with torch.no_grad():
        terms = pair_terms(policy, dpo_loss, 0.0, data).terms
        assert terms.tolist() == [torch.tensor(2.0).log().item()] * 8
        assert pair_terms(policy, ipo_loss, 0.0, data).terms.tolist() == pytest.approx([25.0] * 8)


def test_reference_is_charged_and_asked_once(tmp_path: Path) -> None:
    """Protects the budget: one forward pass of both sides (2N a token), 6N a trained token each epoch, 8 labels."""
    policy = untrained()
    toy = Toy()
    tokens = pairs_of(policy, toy).tokens
    with opened(tmp_path, policy) as parts:
        DPO(epochs=3, batch_size=8, optim=FAST).train(parts)
        counts = parts.run.meter.state_dict()
    assert counts["forward_tokens"] == tokens and counts["trained_tokens"] == 3 * tokens
    assert counts["flops"] == (2 + 3 * 6) * policy.size * tokens
    assert counts["labels"] == 8


def test_what_is_logged() -> None:
    """Protects the signs. The reference gave chosen 1 nat more and rejected 2 nats less than the policy does now: the chosen
    fell by 1, the rejected rose by 2, the margin is -1 - 2 = -3 nats (without beta), the accuracy 0, the loss at beta .1
    ln(1 + e^.3) = .854355."""
    policy = untrained()
    toy = Toy()
    data = pairs_of(policy, toy)
    with torch.no_grad():
        chosen = forward.sequence_logprobs(policy.model, data.chosen)
        rejected = forward.sequence_logprobs(policy.model, data.rejected)
        data = replace(data, reference_chosen=chosen + 1, reference_rejected=rejected - 2)
        terms = pair_terms(policy, dpo_loss, 0.0, data)
    means = {name: float(stat.mean()) for name, stat in terms.stats.items()}
    assert means["chosen_fall"] == pytest.approx(1, abs=1e-4)
    assert means["margin"] == pytest.approx(-3.0, abs=1e-4)
    assert means["accuracy"] == 0.0
    assert means["chosen_logprob"] == pytest.approx(float(chosen.mean()), abs=1e-4)
    assert means["rejected_logprob"] == pytest.approx(float(rejected.mean()), abs=1e-4)
    assert float(terms.terms.mean()) == pytest.approx(0.854355, abs=1e-5)


def test_sequence_logprobs_are_sums_over_the_answer() -> None:
    """Protects the log-ratio: summed, not averaged, the end-of-turn token included, the prompt not."""
    policy = untrained()
    toy = Toy()
    batch = pairs_of(policy, toy).chosen
    with torch.no_grad():
        tokens = forward.token_logprobs(policy.model, batch).logprobs
        sums = forward.sequence_logprobs(policy.model, batch)
    assert batch.completion_lengths.tolist() == [2] * 8
    torch.testing.assert_close(sums, tokens[:, 0] + tokens[:, 1])


def test_it_learns(tmp_path: Path) -> None:
    """Protects the method end to end: every pair is ordered rightly against the reference, and by a margin."""
    policy = untrained()
    toy = Toy()
    with opened(tmp_path, policy) as parts:
        trained = DPO(epochs=15, batch_size=4, optim=FAST).train(parts)
    last = read(tmp_path)[-1]
    assert last["accuracy"] == 1.0 and last["margin"] > 5.0 and last["loss"] < 0.5
    data = pairs_of(trained, toy)
    with torch.no_grad():
        chosen = forward.sequence_logprobs(trained.model, data.chosen)
        rejected = forward.sequence_logprobs(trained.model, data.rejected)
    assert (chosen > rejected).all()


@pytest.mark.parametrize("loss", sorted(PREFERENCE_LOSSES))
def test_every_loss_learns(tmp_path: Path, loss: str) -> None:
    """Protects each loss end to end, with its own defaults: it falls, the last batch is ordered rightly, and the right answer
    of every pair gains on the wrong one."""

    def margins(policy: LanguageModel) -> Tensor:
        data = pairs_of(policy, Toy())
        with torch.no_grad():
            chosen = forward.sequence_logprobs(policy.model, data.chosen)
            return chosen - forward.sequence_logprobs(policy.model, data.rejected)

    optim = Optim(learning_rate=2e-2, warmup=0.0)
    before = margins(untrained())
    with opened(tmp_path, untrained()) as parts:
        trained = DPO(epochs=20, batch_size=8, loss=loss, optim=optim).train(parts)
    first, last = read(tmp_path)[0], read(tmp_path)[-1]
    assert last["loss"] < first["loss"] and last["accuracy"] == 1.0
    assert (margins(trained) > before).all()


@pytest.mark.parametrize("loss", sorted(REFERENCE_FREE))
def test_no_reference_where_none_is_looked_at(tmp_path: Path, loss: str) -> None:
    """Protects the budget: a reference-free loss computes no reference and is charged for none, and logs no fall from it."""
    with opened(tmp_path, untrained()) as parts:
        DPO(epochs=1, batch_size=8, loss=loss, optim=FAST).train(parts)
        assert parts.run.meter.state_dict()["forward_tokens"] == 0
    assert "chosen_fall" not in read(tmp_path)[0]


def test_sft_term(tmp_path: Path) -> None:
    """Protects the SFT term of any loss: at the reference ln 2, plus the coefficient times the chosen answers' mean
    -log pi(y_w) / 2, both answers being of 2 tokens; and it lifts the chosen answers."""
    rows = []
    for coefficient in (0.0, 0.5):
        with opened(tmp_path / str(coefficient), untrained()) as parts:
            DPO(epochs=15, batch_size=8, sft_coefficient=coefficient, optim=FAST).train(parts)
        rows.append(read(tmp_path / str(coefficient)))
    (without, *_, last_without), (with_it, *_, last_with) = rows
    assert with_it["loss"] - without["loss"] == pytest.approx(0.5 * -without["chosen_logprob"] / 2, rel=1e-5)
    assert last_with["chosen_logprob"] > last_without["chosen_logprob"]


def test_loss_settings_reach_the_loss(tmp_path: Path) -> None:
    """Protects from an option that nobody reads: SimPO's first loss at two target margins."""
    losses = []
    for gamma in (0.0, 3.0):
        with opened(tmp_path / str(gamma), untrained()) as parts:
            DPO(epochs=1, batch_size=8, loss="simpo", loss_settings={"gamma": gamma}, optim=FAST).train(parts)
        losses.append(read(tmp_path / str(gamma))[0]["loss"])
    assert losses[1] > losses[0] + 1


def test_a_file_with_a_wrong_setting_is_refused() -> None:
    """Protects the user: a loss or a setting that does not exist is refused where the file is read, by its nearest name; the
    user's own loss may lie where the run is, not here."""
    with pytest.raises(UserError, match=r"arm.*Did you mean 'simpo'"):
        parse_spec(DPO, {"loss": "simpoo"}, where="arm")
    with pytest.raises(UserError, match=r"arm.*no setting 'gama'. Did you mean 'gamma'"):
        parse_spec(DPO, {"loss": "simpo", "loss_settings": {"gama": 1.0}}, where="arm")
    with pytest.raises(UserError, match=r"loss_settings.gamma"):
        parse_spec(DPO, {"loss": "simpo", "loss_settings": {"gamma": "much"}}, where="arm")
    assert parse_spec(DPO, {"loss": "elsewhere:loss"}, where="arm").loss == "elsewhere:loss"


@pytest.mark.parametrize(
    ("loss", "beta", "first"), [("sigmoid", 0.3, math.log(2)), ("ipo", 0.1, 25.0), ("ipo", 0.5, 1.0)]
)
def test_loss_and_beta_are_read(tmp_path: Path, loss: str, beta: float, first: float) -> None:
    """Protects from an option that nobody reads: the first loss is the named one's at the reference."""
    policy = untrained()
    with opened(tmp_path, policy) as parts:
        DPO(epochs=1, batch_size=8, loss=loss, beta=beta, optim=FAST).train(parts)
    assert read(tmp_path)[0]["loss"] == pytest.approx(first, rel=1e-5)


def test_beta_multiplies_the_gradient(tmp_path: Path) -> None:
    """Protects beta's side: at the reference the gradient is -beta/2 grad(log-ratio difference), so twice at twice beta."""
    policy = untrained()
    toy = Toy()
    with opened(tmp_path, policy) as parts:
        data = pairs_of(policy, toy)
        data = with_reference(data, reference_logprobs(parts, data))
    norms = []
    for beta in (0.1, 0.2):
        policy.model.zero_grad()
        pair_terms(policy, partial(dpo_loss, beta=beta), 0.0, data).terms.mean().backward()
        norms.append(float(policy.model.lm_head.weight.grad.norm()))
    assert norms[1] == pytest.approx(2 * norms[0], rel=1e-3)


def test_pairs_limits_the_data(tmp_path: Path) -> None:
    """Protects from an option that nobody reads: 3 of 8 pairs in batches of 2 are 2 steps, and 3 labels."""
    policy = untrained()
    with opened(tmp_path, policy) as parts:
        DPO(epochs=1, batch_size=2, pairs=3, optim=FAST).train(parts)
    assert len(read(tmp_path)) == 2 and read(tmp_path)[-1]["labels"] == 3


def test_mistakes_of_the_users(tmp_path: Path) -> None:
    """Protects the user: an unknown loss, and no pairs, in one line each."""
    policy = untrained()
    with opened(tmp_path, policy) as parts:
        with pytest.raises(UserError, match="Did you mean 'sigmoid'"):
            DPO(loss="sigmod").train(parts)
        with pytest.raises(UserError, match="no preference pairs"):
            DPO().train(replace(parts, preferences=list))


def objective(spec: DPO) -> PreferenceLoss:
    return preference_loss(spec.loss, beta=spec.beta, settings=spec.loss_settings)


def test_a_loss_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects extension: a function named by its path trains (here a perceptron, 0 at the reference), is given `beta` and
    settings, and is asked for a setting that it does not have in the user's words."""

    def perceptron(pairs: PairLogprobs, *, beta: float, offset: float = 0.0) -> Tensor:
        return (offset - beta * pairs.margin).relu()

    monkeypatch.setattr(dpo, "perceptron", perceptron, raising=False)
    spec = DPO(epochs=1, batch_size=8, loss="preflab.methods.dpo:perceptron", beta=0.1, optim=FAST)
    with opened(tmp_path, untrained()) as parts:
        spec.model_copy(update={"loss_settings": {"offset": 2.0}}).train(parts)
    assert read(tmp_path)[0]["loss"] == pytest.approx(2.0, abs=1e-5)
    with pytest.raises(UserError, match=r"no setting 'ofset'. Did you mean 'offset'"):
        objective(spec.model_copy(update={"loss_settings": {"ofset": 2.0}}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss_settings": {"beta": -1.0}}, "must not contain `beta`"),
        ({"loss": "chi-po", "loss_settings": {"r_max": -1.0}}, "`r_max` bounds the reward"),
        ({"loss": "dpop", "loss_settings": {"lam": -1.0}}, "`lam` is the weight of a term"),
        ({"loss": "cpo", "loss_settings": {"nll": -1.0}}, "`nll` is the weight of a term"),
        ({"loss": "orpo", "loss_settings": {"lam": -0.5}}, "`lam` is the weight of a term"),
    ],
)
def test_settings_that_turn_a_loss_round_are_refused(settings: dict[str, Any], message: str) -> None:
    """Protects from a preference reversed, or a gradient that is zero for ever, by a sign."""
    with pytest.raises(UserError, match=message):
        DPO(**settings)


def failing(pairs: Any) -> Any:
    return pairs.nowhere


def test_a_loss_of_the_users_that_fails_is_theirs() -> None:
    """Protects from a traceback: the user's own function is tried on two pairs, and what it raises is said in a line."""
    with pytest.raises(UserError, match="fails on two pairs: AttributeError"):
        objective(DPO(loss=f"{__name__}:failing"))


def test_the_loss_of_the_docs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the page on own parts: its loss, as written there, is taken; at the reference it is 1, and -1 beta margin
    away from it (1 + .2)^2."""
    (code,) = re.findall(
        r"```python\n(# my_losses.py.*?)```", (repository / "docs" / "extend.md").read_text(), re.DOTALL
    )
    (tmp_path / "my_losses.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    loss = objective(DPO(loss="my_losses:squared_hinge", beta=0.2))
    zero, one = torch.zeros(1), torch.ones(1)
    assert float(loss(PairLogprobs(zero, zero, zero, zero, one, one))) == 1.0
    assert float(loss(PairLogprobs(-one, zero, zero, zero, one, one))) == pytest.approx(1.44)
