"""Measures how much memory a model needs. Only the model's configuration is read, not its weights.

The network is built with fake tensors, which have a shape and a type but no content. A forward pass over one
micro-batch therefore takes no memory. During this pass, torch reports each tensor that the backward pass would need.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from preflab.errors import UserError
from preflab.models import forward
from preflab.models.load import (
    CONFIGURATION_FILES,
    find_directory,
    holds_adapters_alone,
    read_adapters_base,
    read_config,
)
from preflab.models.spec import LoRA, ModelSpec
from preflab.models.token_budget import default_token_budget

ROW = 256
"""The number of tokens in a row of the measured micro-batch. The memory of attention is proportional to the number of
tokens, so another row length would give nearly the same result."""
FP32 = 4
"""The bytes of a weight."""
GIB = 2**30


@dataclass(frozen=True)
class Footprint:
    """The numbers that determine how much memory a model needs. `parameters`: the number of parameters, including
    adapters. `trainable`: the number of trainable parameters. `activations`: the number of bytes that the backward pass
    of one micro-batch needs, or None if unknown. `token_bytes`: the number of bytes of one token's keys and values in
    the sampler's cache. `vocabulary`: the number of tokens in the vocabulary. `width`: the width of the hidden
    states."""

    parameters: int
    trainable: int
    activations: int | None
    token_bytes: int
    vocabulary: int
    width: int


def measure_footprint(
    spec: ModelSpec, *, token_budget: int | None, device: str, bf16: bool, recompute: bool
) -> Footprint:
    """Returns the memory needs of the model that `spec` describes, with weights in fp32. `token_budget`: the number of
    tokens in a micro-batch (None: the default for the model's width on `device`). `bf16`: whether the model computes in
    bf16. `recompute`: whether the backward pass computes each layer again. For a model on the hub, only the
    configuration is downloaded. Raises `UserError` if the configuration cannot be read."""
    config = make_configuration(spec)
    text = config.get_text_config(decoder=True)
    width = text.hidden_size
    network = build_network(config, spec)
    shape = text.to_dict()
    heads = shape.get("num_key_value_heads") or text.num_attention_heads
    head_width = shape.get("head_dim") or width // text.num_attention_heads
    return Footprint(
        parameters=sum(each.numel() for each in network.parameters()),
        trainable=sum(each.numel() for each in network.parameters() if each.requires_grad),
        activations=count_activations(network, token_budget or default_token_budget(width, device), bf16, recompute),
        token_bytes=2 * text.num_hidden_layers * heads * head_width * FP32,
        vocabulary=text.vocab_size,
        width=width,
    )


def make_configuration(spec: ModelSpec) -> Any:
    """Returns the configuration of a model as transformers reads it. For saved adapters, this is the configuration of
    their base model."""
    if spec.name == "tiny":
        from preflab.models.tiny import make_tiny

        return make_tiny(spec.tiny, seed=0).model.config
    directory = find_directory(spec, CONFIGURATION_FILES)
    if holds_adapters_alone(directory):
        return make_configuration(read_adapters_base(directory))
    return read_config(directory, trust_remote_code=spec.trust_remote_code)


def build_network(config: Any, spec: ModelSpec) -> Any:
    """Builds the network of a model on the meta device, so that its weights take no memory. The network includes new
    adapters if the spec has LoRA settings."""
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(
                config, dtype=torch.float32, trust_remote_code=spec.trust_remote_code
            )
            return (network if spec.lora is None else add_adapters(network, spec.lora)).eval()
    except Exception as error:  # a model's own code can raise any exception
        raise UserError(f"The network of the model {spec.name!r} cannot be built: {error}") from error


def add_adapters(network: Any, settings: LoRA) -> Any:
    from peft import LoraConfig, get_peft_model

    targets = list(settings.targets) or "all-linear"
    return get_peft_model(network, LoraConfig(r=settings.rank, target_modules=targets))


def count_activations(network: Any, tokens: int, bf16: bool, recompute: bool) -> int | None:
    """Returns the number of bytes that the backward pass of a micro-batch needs. With `recompute`, this is the size of
    the states before each layer, plus the bytes that one layer needs. Returns None if the network cannot run on fake
    tensors. A network cannot run on fake tensors if its computation depends on the values of tensors."""
    kept: dict[int, torch.Tensor] = {}
    with FakeTensorMode():
        materialise(network)
        own = set(map(name_storage, (*network.parameters(), *network.buffers())))

        def keep(saved: torch.Tensor) -> torch.Tensor:
            if name_storage(saved) not in own:
                kept[name_storage(saved)] = saved
            return saved

        shape = (-(-tokens // ROW), min(tokens, ROW))
        ids, mask = torch.zeros(shape, dtype=torch.long), torch.ones(shape[0], 1, shape[1], shape[1], dtype=torch.bool)
        try:
            with (
                torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved),
                torch.autocast("cpu", torch.bfloat16, enabled=bf16),
            ):
                forward.backbone(network)(input_ids=ids, position_ids=ids, attention_mask=mask, use_cache=False)
        except Exception:  # some networks cannot run on fake tensors
            return None
        total = sum(each.untyped_storage().nbytes() for each in kept.values())
    if not recompute:
        return total
    text = forward.unwrap(network).config.get_text_config(decoder=True)
    return total // text.num_hidden_layers + text.num_hidden_layers * tokens * text.hidden_size * FP32


def name_storage(tensor: torch.Tensor) -> int:
    """Returns a number that identifies the memory of a tensor. Tensors that share their memory have the same number.
    The memory address cannot be used, because fake tensors have no memory address."""
    return tensor.untyped_storage()._cdata  # type: ignore[attr-defined]  # torch has no public name for it


def materialise(network: nn.Module) -> None:
    """Replaces the network's meta tensors with fake tensors of the CPU, so that the network computes as on a real
    device. Call this function in a `FakeTensorMode`."""
    for module in network.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            empty = torch.empty(weight.shape, dtype=weight.dtype, device="cpu")
            module.register_parameter(name, nn.Parameter(empty, requires_grad=weight.requires_grad))
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, torch.empty(buffer.shape, dtype=buffer.dtype, device="cpu"))


def count_saved_parameters(directory: Path) -> int:
    """Returns the number of parameters in the safetensors files of a directory. Only the headers of the files are read.
    A file that cannot be read counts as empty, because its error is reported when the model is loaded."""
    total = 0
    for file in directory.glob("*.safetensors"):
        with suppress(OSError, ValueError, LookupError, TypeError), file.open("rb") as content:
            header = json.loads(content.read(int.from_bytes(content.read(8), "little")))
            total += sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return total
