"""One update: the same gradient however the batch is cut, a schedule, a guard, and a state that goes on exactly."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from preflab.batch import PairBatch, TokenBatch, collate
from preflab.errors import UserError
from preflab.losses.preference import dpo_loss
from preflab.meter import Meter
from preflab.methods.dpo import pair_terms
from preflab.methods.sft import nll
from preflab.models import forward, tiny
from preflab.models.lm import LanguageModel
from preflab.models.spec import TinyShape
from preflab.spec import parse_spec
from preflab.train import checkpoint
from preflab.train.learner import Learner, Optim, Terms

SHAPE = TinyShape(width=16, inner=16, layers=1, heads=2, context=64)
SHAPES = st.lists(st.tuples(*[st.integers(1, 8)] * 3), min_size=2, max_size=6)  # prompt, completion, other completion


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny.make_tiny(SHAPE, seed=0)


def fresh() -> LanguageModel:
    return tiny.make_tiny(SHAPE, seed=0)


def learner(lm: LanguageModel, optim: Optim | None = None, *, budget: int = 10_000) -> Learner:
    return Learner(lm.model, optim or Optim(learning_rate=1e-2, warmup=0.0), token_budget=budget, meter=Meter())


def ids(generator: torch.Generator, count: int) -> list[int]:
    return torch.randint(3, 400, (count,), generator=generator).tolist()


def token_rows(shapes: list[tuple[int, int, int]]) -> TokenBatch:
    generator = torch.Generator().manual_seed(7)
    rows = [(ids(generator, p), ids(generator, n)) for p, n, _ in shapes]
    return collate([p for p, _ in rows], [n for _, n in rows])


def pair_rows(shapes: list[tuple[int, int, int]]) -> PairBatch:
    generator = torch.Generator().manual_seed(8)
    rows = [(ids(generator, p), ids(generator, n), ids(generator, m)) for p, n, m in shapes]
    prompts, chosen, rejected = (list(side) for side in zip(*rows, strict=True))
    pairs = PairBatch(collate(prompts, chosen), collate(prompts, rejected))
    references = [torch.rand(len(rows), generator=generator) * -20 for _ in range(2)]
    return replace(pairs, reference_chosen=references[0], reference_rejected=references[1])


def widened(batch: TokenBatch, left: int, right: int) -> TokenBatch:
    """The same rows with more padding, filled with ordinary ids."""
    rows = len(batch)
    return replace(
        batch,
        prompt_ids=torch.cat([torch.full((rows, left), 9), batch.prompt_ids], dim=1),
        completion_ids=torch.cat([batch.completion_ids, torch.full((rows, right), 9)], dim=1),
    )


def gradients(
    lm: LanguageModel, batch: Any, loss: Callable[[Any], Terms], count: float, budget: int
) -> tuple[list[Tensor], dict[str, float]]:
    """What one step would hand to the optimizer, and what it logs; no update is made."""
    taken: list[Tensor] = []
    made = learner(lm, budget=budget)

    def take() -> dict[str, float]:
        taken.extend(p.grad.clone() for p in made.parameters.values() if p.grad is not None)
        made.optimizer.zero_grad(set_to_none=True)
        return {}

    made._update = take  # type: ignore[method-assign]  # a spy
    return taken, made.step(batch, loss, count=count, progress=0.5)


def assert_same(first: tuple[list[Tensor], dict[str, float]], second: tuple[list[Tensor], dict[str, float]]) -> None:
    assert len(first[0]) == len(second[0]) > 0
    for one, other in zip(first[0], second[0], strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)
    assert second[1] == pytest.approx(first[1], abs=1e-4)


@settings(max_examples=12)
@given(SHAPES, st.sampled_from([1, 9, 20, 40]), st.integers(0, 3), st.integers(0, 3), st.randoms(use_true_random=False))
def test_sft_gradient_whatever_the_cut(
    lm: LanguageModel, shapes: list[tuple[int, int, int]], budget: int, left: int, right: int, random: Any
) -> None:
    """Protects the paper's numbers from memory's size: a mean over the batch's tokens, whatever the micro-batches, the
    padding and the order of rows."""
    batch = token_rows(shapes)
    count = float(batch.completion_lengths.sum())

    def loss(rows: TokenBatch) -> Terms:
        return nll(lm, rows)

    whole = gradients(lm, batch, loss, count, 10_000)
    order = random.sample(range(len(shapes)), len(shapes))
    assert_same(whole, gradients(lm, widened(batch, left, right).select(order), loss, count, budget))


@settings(max_examples=12)
@given(SHAPES, st.sampled_from([1, 15, 40]), st.integers(0, 3), st.integers(0, 3), st.randoms(use_true_random=False))
def test_dpo_gradient_whatever_the_cut(
    lm: LanguageModel, shapes: list[tuple[int, int, int]], budget: int, left: int, right: int, random: Any
) -> None:
    """As for SFT, averaged over pairs: each pair's reference log-probabilities go with it."""
    pairs = pair_rows(shapes)

    def loss(rows: PairBatch) -> Terms:
        return pair_terms(lm, dpo_loss, 0.0, rows)

    whole = gradients(lm, pairs, loss, len(pairs), 10_000)
    order = random.sample(range(len(shapes)), len(shapes))
    wide = replace(pairs, chosen=widened(pairs.chosen, left, 0), rejected=widened(pairs.rejected, left, right))
    assert_same(whole, gradients(lm, wide.select(order), loss, len(pairs), budget))


def test_gradient_is_no_mean_of_means(lm: LanguageModel) -> None:
    """Protects from gradient accumulation's trap: rows of 1 and 9 tokens weigh 1 : 9, in one micro-batch or in two; the
    mean of each row's mean would weigh them 1 : 1."""
    batch = token_rows([(2, 1, 1), (2, 9, 1)])

    def rows_gradient(rows: list[int], count: float) -> list[Tensor]:
        return gradients(lm, batch.select(rows), lambda part: nll(lm, part), count, 1000)[0]

    split = gradients(lm, batch, lambda part: nll(lm, part), 10.0, 1)[0]
    short, long = rows_gradient([0], 1.0), rows_gradient([1], 9.0)
    for whole, one, other in zip(split, short, long, strict=True):
        torch.testing.assert_close(whole, 0.1 * one + 0.9 * other, atol=1e-5, rtol=1e-5)
    assert any(not torch.allclose(f, (a + b) / 2, atol=1e-3) for f, a, b in zip(split, short, long, strict=True))


def test_stats_are_averaged_as_the_terms(lm: LanguageModel) -> None:
    """Protects what is logged: masked, over the whole batch, whatever the cut. Of 10 tokens those in row 1 (9) count 1."""
    batch = token_rows([(2, 1, 1), (2, 9, 1)])

    def loss(rows: TokenBatch) -> Terms:
        long = (rows.completion_lengths[:, None] > 1).float().expand(rows.mask.shape)
        return Terms(nll(lm, rows).terms, rows.mask, {"long": long})

    for budget in (1, 1000):
        assert gradients(lm, batch, loss, 10.0, budget)[1]["long"] == pytest.approx(0.9)


def step(made: Learner, lm: LanguageModel, batch: TokenBatch, progress: float, **kwargs: Any) -> dict[str, float]:
    return made.step(
        batch, lambda r: nll(lm, r), count=float(batch.completion_lengths.sum()), progress=progress, **kwargs
    )


def weights(lm: LanguageModel) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in lm.model.named_parameters()}


def test_training_lowers_the_loss_and_is_charged() -> None:
    """Protects the step itself: repeated on one batch the loss falls; 6N a token, prompts included, is charged a step."""
    lm, batch = fresh(), token_rows([(3, 4, 1)] * 4)
    made = learner(lm, Optim(learning_rate=3e-3, warmup=0.0, schedule="constant"))
    losses = [step(made, lm, batch, i / 8)["loss"] for i in range(8)]
    assert losses[-1] < losses[0] - 0.5
    assert made.meter.used("compute") == 8 * 6 * lm.size * batch.tokens


def test_a_skipped_update_moves_nothing() -> None:
    """Protects the ratio guard: where it says so neither weights, moments, update count nor schedule move; the skip is
    counted, and the next update stands where the skipped one would have stood."""
    lm, batch = fresh(), token_rows([(3, 4, 1), (1, 2, 1)])
    made = learner(lm, Optim(learning_rate=1e-2, warmup=0.0, schedule="linear"))
    step(made, lm, batch, 0.2)
    before, state = weights(lm), copy.deepcopy(made.state_dict())
    guarded: list[Mapping[str, float]] = []

    def guard(stats: Mapping[str, float]) -> bool:
        guarded.append(stats)
        return True

    stats = step(made, lm, batch, 0.4, guard=guard)
    assert guarded[0]["loss"] == stats["loss"] and "learning_rate" not in stats
    assert made.skipped == 1 and made.position == 0.2
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(lm).items())
    for name, moments in made.state_dict()["adam"].items():
        assert all(torch.equal(tensor, state["adam"][name][key]) for key, tensor in moments.items())
    assert all(parameter.grad is None for parameter in made.parameters.values())
    after = step(made, lm, batch, 0.5, guard=lambda stats: False)
    assert made.skipped == 1
    assert after["learning_rate"] == pytest.approx(1e-2 * (1 - (0.2 + 0.1)))  # .2 of the run went with the skip


def test_the_guard_comes_before_the_loss_is_checked() -> None:
    """Protects a run from the very thing that the guard is for: a ratio that overflows makes the loss infinite too."""
    lm, batch = fresh(), token_rows([(3, 4, 1)])
    made = learner(lm)

    def loss(rows: TokenBatch) -> Terms:
        terms = nll(lm, rows)
        return Terms(terms.terms * math.inf, terms.mask, {"ratio": torch.full_like(terms.terms, math.inf)})

    made.step(batch, loss, count=4, progress=0.1, guard=lambda stats: stats["ratio"] > 5)
    assert made.skipped == 1
    with pytest.raises(FloatingPointError, match="loss is inf"):
        made.step(batch, loss, count=4, progress=0.2, guard=lambda stats: False)


def test_not_a_number_stops_the_run() -> None:
    """Protects the weights: a loss that is NaN, and a finite loss whose gradient is not, raise before anything moves."""
    lm, batch = fresh(), token_rows([(3, 4, 1)])
    made, before = learner(lm), weights(lm)
    with pytest.raises(FloatingPointError, match="loss is nan"):
        made.step(batch, lambda rows: Terms(nll(lm, rows).terms * math.nan, rows.mask, {}), count=4, progress=0.1)
    made.optimizer.zero_grad()

    def steep(rows: TokenBatch) -> Terms:
        terms = nll(lm, rows).terms
        return Terms((terms - terms.detach()).abs().sqrt(), rows.mask, {})  # 0, with an infinite slope

    with pytest.raises(FloatingPointError, match="gradient"):
        made.step(batch, steep, count=4, progress=0.1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(lm).items())


def test_an_empty_mask_is_refused(lm: LanguageModel) -> None:
    """Protects from a batch that trains on nothing, silently."""
    batch = token_rows([(2, 2, 1)])
    with pytest.raises(ValueError, match="empty"):
        learner(lm).step(batch, lambda rows: nll(lm, rows), count=0, progress=0.1)


def test_state_goes_on_exactly(tmp_path: Path) -> None:
    """Protects resume from a fresh Adam: through a checkpoint on disk into a new process's learner, the next updates are
    the same to the bit."""
    batch = token_rows([(3, 4, 1), (1, 6, 1)])
    optim = Optim(learning_rate=1e-2, warmup=0.1)
    one = fresh()
    made = learner(one, optim)
    for i in range(3):
        step(made, one, batch, i / 8)
    step(made, one, batch, 0.4, guard=lambda stats: True)
    checkpoint.write_checkpoint(tmp_path, 3, {"step": 3, "policy": made.state_dict()}, keep=1)
    other = fresh()
    again = learner(other, optim)
    tree = checkpoint.read_newest_checkpoint(tmp_path)
    assert tree is not None
    again.load_state_dict(tree["policy"])
    assert (
        (again.position, again.progress, again.skipped)
        == (made.position, made.progress, made.skipped)
        == (0.25, 0.4, 1)
    )
    for progress in (0.5, 0.9):
        assert step(made, one, batch, progress) == step(again, other, batch, progress)
    theirs = weights(other)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in weights(one).items())


def test_a_state_without_updates(tmp_path: Path) -> None:
    """Protects a run that is stopped before its first update: no moments are kept, and none are asked for."""
    one, other = fresh(), fresh()
    checkpoint.write_checkpoint(tmp_path, 0, {"step": 0, "policy": learner(one).state_dict()}, keep=1)
    tree = checkpoint.read_newest_checkpoint(tmp_path)
    assert tree is not None
    again = learner(other)
    again.load_state_dict(tree["policy"])
    assert not again.optimizer.state


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        ("cosine", 0.0, 0.01),  # warm-up from a hundredth, not from nothing
        ("cosine", 0.1, 0.5),
        ("cosine", 0.2, 1.0),
        ("cosine", 0.6, 0.5),  # half of the rest: (1 + cos 90 degrees) / 2
        ("cosine", 1.0, 0.0),
        ("cosine", 1.3, 0.0),  # a budget overrun does not turn the cosine up again
        ("linear", 0.4, 0.75),
        ("linear", 1.3, 0.0),
        ("constant", 0.9, 1.0),
    ],
)
def test_schedule(schedule: str, progress: float, factor: float) -> None:
    """Protects the learning rate over a run whose first fifth is warm-up."""
    optim = parse_spec(Optim, {"schedule": schedule, "warmup": 0.2}, where="test")
    assert optim.factor(progress) == pytest.approx(factor)


def test_learning_rate_reaches_adam() -> None:
    """Protects from a schedule that nobody reads: with a factor of 0 no weight moves, weight decay included."""
    lm, batch = fresh(), token_rows([(3, 4, 1)])
    made, before = learner(lm, Optim(learning_rate=1.0, warmup=0.0)), weights(lm)
    stats = step(made, lm, batch, 1.0)
    assert stats["learning_rate"] == 0.0
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(lm).items())


def test_gradient_is_clipped(lm: LanguageModel) -> None:
    """Protects from a step that blows up: the logged norm is the gradient's own, Adam sees at most `clip_norm`; 0: off."""
    batch = token_rows([(3, 4, 1)])
    moments = {}
    for clip in (1e-3, 0.0):
        own = LanguageModel(copy.deepcopy(lm.model), lm.tokenizer, lm.end_ids, lm.pad_id, lm.context)
        made = learner(own, Optim(learning_rate=0.0, clip_norm=clip, warmup=0.0))
        norm = step(made, own, batch, 0.1)["gradient_norm"]
        moment = (
            torch.stack([state["exp_avg"].square().sum() for state in made.state_dict()["adam"].values()]).sum().sqrt()
        )
        moments[clip] = (norm, float(moment) / (1 - made.optim.beta1))
    assert moments[1e-3] == pytest.approx((moments[0.0][0], 1e-3), rel=1e-3)
    assert moments[0.0][1] == pytest.approx(moments[0.0][0], rel=1e-3)


def test_settings_out_of_range_are_the_users_mistake() -> None:
    """Protects from dividing by nothing at the end of a run that is all warm-up."""
    with pytest.raises(UserError, match="warmup"):
        parse_spec(Optim, {"warmup": 1.0}, where="test")


def test_bf16_trains_fp32_weights() -> None:
    """Protects mixed precision: arithmetic in bf16 lowers the loss, while weights and moments stay fp32."""
    lm, batch = fresh(), token_rows([(3, 4, 1)] * 4)
    forward.use_bf16(lm.model)
    made = learner(lm, Optim(learning_rate=3e-3, warmup=0.0, schedule="constant"))
    losses = [step(made, lm, batch, i / 6)["loss"] for i in range(6)]
    assert losses[-1] < losses[0] - 0.3
    assert {parameter.dtype for parameter in made.parameters.values()} == {torch.float32}
    assert {s["exp_avg"].dtype for s in made.state_dict()["adam"].values()} == {torch.float32}
