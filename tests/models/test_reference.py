"""The reference: an earlier policy, or an average that follows it; the model holds it for a while and always returns it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from preflab.batch import collate
from preflab.models import forward, lora, tiny
from preflab.models.reference import Reference, trainable
from preflab.models.spec import LoRA, TinyShape

SHAPE = TinyShape(width=16, inner=16, layers=1, heads=2, context=32)
ROWS = collate([[5, 6, 7], [8]], [[10, 11], [12, 1, 2]])


def policy() -> Any:
    return tiny.make_tiny(SHAPE, seed=0).model


def adapted() -> Any:
    return lora.attach(policy(), LoRA(rank=2, alpha=4.0), seed=0)


@torch.no_grad()
def logprobs(model: Any) -> Tensor:
    return forward.token_logprobs(model, ROWS).logprobs


@torch.no_grad()
def move(model: nn.Module, seed: int = 0) -> None:
    """An update of every trainable weight."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in trainable(model).values():
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)


@pytest.mark.parametrize("make", [policy, adapted])
def test_reference_is_the_policy_as_it_was(make: Any) -> None:
    """Protects KL: at step 0 the reference is the policy, to the bit; after updates it is still what it was, and the
    policy gets its own weights back."""
    model = make()
    start = logprobs(model)
    reference = Reference(model)
    with reference.active() as lent:
        assert torch.equal(logprobs(lent), start)
    move(model)
    moved = logprobs(model)
    assert not torch.allclose(moved, start, atol=1e-3)
    with reference.active() as lent:
        assert lent is model and torch.equal(logprobs(lent), start)
        assert not torch.is_grad_enabled()
    assert torch.equal(logprobs(model), moved)


def test_reference_under_lora_is_the_sft_model() -> None:
    """Protects from an adapter switched off that gives the pretrained model: SFT trains adapters, they are merged, fresh
    ones are put on; the reference is the SFT model and not what was before."""
    before = policy()
    pretrained = logprobs(before)
    trained = lora.attach(before, LoRA(rank=2, alpha=4.0), seed=0)
    move(trained)
    merged = lora.merge(trained)
    sft = logprobs(merged)
    model = lora.attach(merged, LoRA(rank=2, alpha=4.0), seed=1)
    reference = Reference(model)
    assert all("lora_" in name for name in reference.tensors)  # the frozen base is held once
    torch.testing.assert_close(logprobs(model), sft, rtol=0, atol=0)
    move(model, seed=2)
    with reference.active():
        torch.testing.assert_close(logprobs(model), sft, rtol=0, atol=0)
        assert not torch.allclose(logprobs(model), pretrained, atol=1e-3)


def test_weights_come_back_after_an_exception() -> None:
    """Protects the policy from training on as its own reference when a forward pass fails."""
    model = policy()
    reference = Reference(model)
    move(model)
    before = {name: parameter.detach().clone() for name, parameter in trainable(model).items()}
    with pytest.raises(RuntimeError, match="out of memory"), reference.active():
        raise RuntimeError("out of memory")
    assert all(torch.equal(parameter, before[name]) for name, parameter in trainable(model).items())
    assert torch.is_grad_enabled()


def test_moving_average() -> None:
    """Protects the formula, eta = .25: reference 2, policy 6: .25 x 6 + .75 x 2 = 3; again 3.75. Rate 1 takes the newest
    policy to the bit; the policy itself never moves; a parameter that is not trained is not held."""
    model = nn.Linear(1, 1, bias=True)
    nn.init.constant_(model.weight, 2.0)
    model.bias.requires_grad_(False)
    reference = Reference(model)
    assert set(reference.tensors) == {"weight"}
    nn.init.constant_(model.weight, 6.0)
    reference.follow(0.25)
    assert reference.tensors["weight"].item() == 3.0
    reference.follow(0.25)
    assert reference.tensors["weight"].item() == 3.75
    nn.init.constant_(model.weight, 0.1)
    reference.follow(1.0)
    assert torch.equal(reference.tensors["weight"], model.weight.detach()) and model.weight.item() == pytest.approx(0.1)
    nn.init.constant_(model.weight, 0.7)
    assert reference.tensors["weight"].item() == pytest.approx(0.1)  # a copy, no view


def test_state_goes_through_a_checkpoint() -> None:
    """Protects resume: an averaged reference comes back as it was, into tensors of its own."""
    model = policy()
    reference = Reference(model)
    move(model)
    reference.follow(0.3)
    state = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    again = Reference(model)
    again.load_state_dict(state)
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in state.items())
    again.follow(0.5)
    assert all(torch.equal(reference.tensors[name], tensor) for name, tensor in state.items())


def test_the_optimizer_keeps_its_parameters() -> None:
    """Protects training: lending the model leaves the parameters the same objects, so that an update made after it lands
    in the policy and leaves the reference alone."""
    model = policy()
    optimizer = torch.optim.SGD(trainable(model).values(), lr=0.1)
    reference = Reference(model)
    with reference.active():
        start = logprobs(model)
    forward.token_logprobs(model, ROWS).logprobs.sum().backward()
    optimizer.step()
    assert not torch.allclose(logprobs(model), start, atol=1e-4)
    with reference.active():
        assert torch.equal(logprobs(model), start)
