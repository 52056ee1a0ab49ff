"""What a model takes in memory, computed without the memory: against the same network with real tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.models.conftest import save_gpt2, save_llama, save_qwen2

from preflab.models import forward, lora
from preflab.models.footprint import FP32, count_saved_parameters, measure_footprint
from preflab.models.load import load_directory
from preflab.models.spec import LoRA, ModelSpec

TOKENS = 64


def kept_bytes(network: torch.nn.Module, bf16: bool) -> int:
    """The bytes that the backward pass of a real row of `TOKENS` tokens needs, without the weights."""
    own = {each.untyped_storage().data_ptr() for each in (*network.parameters(), *network.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def keep(saved: torch.Tensor) -> torch.Tensor:
        if saved.untyped_storage().data_ptr() not in own:
            kept[saved.untyped_storage().data_ptr()] = saved
        return saved

    ids, mask = torch.zeros(1, TOKENS, dtype=torch.long), torch.ones(1, 1, TOKENS, TOKENS, dtype=torch.bool)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        forward.backbone(network)(input_ids=ids, position_ids=ids, attention_mask=mask, use_cache=False)
    return sum(each.untyped_storage().nbytes() for each in kept.values())


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("adapters", [None, LoRA(rank=4)])
@pytest.mark.parametrize("save", [save_gpt2, save_llama, save_qwen2])
def test_the_bytes_are_those_of_the_real_network(
    save: Callable[[Path], Path], adapters: LoRA | None, bf16: bool, tmp_path: Path
) -> None:
    """Protects the plan's memory: the parameters, the trainable ones and what the backward pass needs are those of the
    loaded model, for three families, with and without adapters, in both precisions."""
    directory = save(tmp_path / "model")
    found = measure_footprint(
        ModelSpec(name=str(directory), lora=adapters), token_budget=TOKENS, device="cpu", bf16=bf16, recompute=False
    )
    network = load_directory(directory).model
    if adapters is not None:
        network = lora.attach(network, adapters, seed=0)
    trainable = sum(each.numel() for each in network.parameters() if each.requires_grad)
    everything = sum(each.numel() for each in network.parameters())  # loading may add a row for a padding token
    assert (found.parameters, found.trainable) == (
        pytest.approx(everything, rel=0.01),
        pytest.approx(trainable, rel=0.01),
    )
    assert found.activations == pytest.approx(kept_bytes(network, bf16), rel=0.02)


def test_computing_layers_again_keeps_one_state_a_layer(tmp_path: Path) -> None:
    """Protects the advice to compute layers again. All of one of the 2 layers, and a state of 32 numbers before each layer
    and token: whole / 2 + 2 x 64 x 32 x 4 bytes."""
    spec = ModelSpec(name=str(save_gpt2(tmp_path / "model")))
    whole, few = (
        measure_footprint(spec, token_budget=TOKENS, device="cpu", bf16=False, recompute=recompute).activations
        for recompute in (False, True)
    )
    assert whole is not None and few == whole // 2 + 2 * TOKENS * 32 * FP32


def test_saved_parameters_are_read_from_the_headers(tmp_path: Path) -> None:
    """Protects the size of reward models: the number is that of the loaded model, whose tied head is saved once; a damaged
    file counts as empty, since loading it says more."""
    directory = save_gpt2(tmp_path / "model")
    expected = sum(each.numel() for each in load_directory(directory).model.parameters())
    assert count_saved_parameters(directory) == pytest.approx(expected, rel=0.01)
    (directory / "model.safetensors").write_bytes(b"\x05")
    assert count_saved_parameters(directory) == 0
