"""Packed rows hold a shared prompt once and short rows side by side, and the results are those of the plain layout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.test_forward import SHAPE as NARROW
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from preflab.batch import PairBatch, TokenBatch, collate
from preflab.models import forward, layout, packing

SHAPE: dict[str, Any] = {**NARROW, "hidden_size": 32}  # a packed row then has up to 64 positions


def llama(attention: str = "sdpa") -> Any:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE)).eval()
    model.set_attn_implementation(attention)
    return model


def rows(*shapes: tuple[int, int, int]) -> TokenBatch:
    """One row for each (prompt number, prompt length, answer length); equal numbers and lengths are equal prompts."""
    prompts = [[1 + (7 * number + place) % 36 for place in range(length)] for number, length, _ in shapes]
    answers = [
        [1 + (5 * row + place * place) % 36 for place in range(length)] for row, (_, _, length) in enumerate(shapes)
    ]
    return collate(prompts, answers)


def pairs() -> PairBatch:
    chosen = rows((0, 9, 3), (1, 5, 6), (2, 7, 1))
    rejected = rows((0, 9, 5), (1, 5, 2), (2, 7, 4))
    return PairBatch(chosen, rejected)


def plain_states(model: Any, batch: TokenBatch) -> torch.Tensor:
    arranged = layout.plain_layout(batch)
    return arranged.gather(packing.run_layout(forward.backbone(model), arranged))


def test_a_shared_row_has_the_prompt_once_and_each_answer_sees_the_prompt_and_itself() -> None:
    """Two answers of 2 and 1 tokens to a prompt of 2 tokens, by hand: positions 0 1 | 2 3 | 2, and five positions
    instead of seven."""
    batch = collate([[4, 5], [4, 5]], [[6, 7], [8]])
    arranged = layout.packed_layout(batch, longest=8)
    assert arranged is not None
    assert arranged.ids.tolist() == [[4, 5, 6, 7, 8]]
    assert arranged.positions is not None and arranged.positions.tolist() == [[0, 1, 2, 3, 2]]
    assert arranged.visible is not None
    assert arranged.visible[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]
    assert arranged.rows.tolist() == [0, 0]
    assert arranged.columns[0].tolist() == [1, 2, 3]
    assert arranged.columns[1, :2].tolist() == [1, 4]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9), st.integers(1, 6)), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_states_do_not_depend_on_the_layout(shapes: list[tuple[int, int, int]]) -> None:
    """Any mixture of shared and lone prompts of any length."""
    model, batch = llama(), rows(*shapes)
    counted = torch.cat([torch.ones_like(batch.mask[:, :1]), batch.mask], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(
            forward.states(model, batch)[counted], plain_states(model, batch)[counted], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_gradients_do_not_depend_on_the_layout(attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of a pair's margin, with the prompt read once and twice: equal to 1e-5 of its norm."""
    model = llama(attention)
    assert packing.longest_row(forward.backbone(model)) == 64
    gradients = []
    for shares in (True, False):
        if not shares:
            monkeypatch.setattr(packing, "packed_layout", lambda batch, longest: None)
        model.zero_grad()
        (forward.pair_logprobs(model, pairs()) @ torch.tensor([1.0, -1.0])).sum().backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[1].norm()


def test_the_prompt_of_a_pair_is_computed_once() -> None:
    """Three pairs with prompts of 9, 5, 7 and answers of 3+5, 6+2, 1+4 tokens: rows of 17, 13 and 12, padded to 17, are
    51 positions; the plain layout has six rows of 14 positions, which are 84."""
    model = llama()
    forward.pair_logprobs(model, pairs())  # the first call also tries the layouts, and the head
    shapes: list[torch.Size] = []

    def read(_: Any, args: Any, settings: dict[str, Any], result: Any) -> None:
        shapes.append(settings["input_ids"].shape)

    model.model.register_forward_hook(read, with_kwargs=True)
    forward.pair_logprobs(model, pairs())
    assert shapes == [(3, 17)]


def test_short_groups_fill_a_row() -> None:
    """Three prompts of one answer each, of 8, 5 and 3 tokens together: the two short groups are one row of 8 positions. A
    group attends to nothing of the other, and its positions begin at 0."""
    arranged = layout.packed_layout(rows((0, 4, 4), (1, 2, 3), (2, 1, 2)), longest=64)
    assert arranged is not None
    assert arranged.rows.tolist() == [0, 1, 1]
    assert arranged.positions is not None and arranged.positions[1].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert arranged.visible is not None
    assert not arranged.visible[1, 0, 5:, :5].any()
    assert arranged.columns[2, :3].tolist() == [5, 6, 7]


def test_a_batch_with_a_row_above_the_limit_is_not_packed() -> None:
    """A mask of one's own replaces the model's attention window, so that no packed row may exceed it."""
    assert layout.packed_layout(rows((0, 9, 4), (0, 9, 4), (1, 2, 3)), longest=12) is None


def test_a_row_is_not_longer_than_the_limit() -> None:
    """Five answers of 3 tokens to a prompt of 6, with at most 12 positions: rows of two answers, and one alone."""
    arranged = layout.packed_layout(rows(*[(0, 6, 3)] * 5), longest=12)
    assert arranged is not None
    assert arranged.rows.tolist() == [0, 0, 1, 1, 2]
    assert arranged.ids.shape == (3, 12)


def test_a_saving_that_does_not_pay_keeps_the_plain_layout() -> None:
    """A prompt of 1 token and two answers of 9: 19 positions against 20, which is more than .85 of them."""
    assert layout.packed_layout(rows((0, 1, 9), (0, 1, 9)), longest=64) is None


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            lambda: MambaForCausalLM(MambaConfig(vocab_size=37, hidden_size=16, num_hidden_layers=2)),
            "a state, no attention",
        ),
        (lambda: BloomForCausalLM(BloomConfig(vocab_size=37, hidden_size=16, n_layer=2, n_head=2)), "biases by column"),
        (lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=3)), "a window narrower than any shared row"),
    ],
)
def test_models_that_cannot_share_a_prompt_use_the_plain_layout(model: Any, reason: str) -> None:
    """Their results are those of the plain layout, without an error."""
    torch.manual_seed(0)
    open_model = model().eval()
    batch = pairs().answers
    with torch.no_grad():
        states = forward.states(open_model, batch)
        torch.testing.assert_close(states, plain_states(open_model, batch))


def test_learned_positions_are_those_within_the_text() -> None:
    """GPT-2 looks positions up in a table: an answer's positions continue those of its prompt."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=37, n_embd=32, n_layer=2, n_head=2, n_positions=64)).eval()
    assert packing.longest_row(forward.backbone(model)) == 64
    batch = pairs().answers
    counted = torch.cat([torch.ones_like(batch.mask[:, :1]), batch.mask], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(
            forward.states(model, batch)[counted], plain_states(model, batch)[counted], rtol=1e-4, atol=1e-5
        )
