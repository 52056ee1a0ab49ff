"""Low-rank adapters through peft: attach them, and merge them into plain weights.

Fresh adapters change nothing (B = 0). So until its first update a policy under LoRA equals the model from which it was made,
and a reference taken then is that model. This model is the SFT model if the adapters of SFT were merged before; saving
merges them. preflab saves plain weights, and the adapters beside them.
"""

from __future__ import annotations

import copy
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

from preflab.errors import UserError
from preflab.models.hub import first_line
from preflab.models.spec import LoRA

ADAPTER = "adapter"
"""The folder of the adapters, beside the weights into which they are merged."""
MAMBA = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")
"""Families whose fused kernels read the weights of `out_proj` themselves, so that peft refuses an adapter on this layer."""


SCORING = "SEQ_CLS"
"""peft's name for the task of a reward model, which scores whole sequences."""


def is_adapted(model: Any) -> bool:
    """Checks whether peft wraps the model."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def is_reward_model(model: Any) -> bool:
    """Checks whether the model, with adapters or without, is a classifier with a scalar head `score`."""
    return hasattr(model, "score")


def attach(model: Any, settings: LoRA, *, seed: int) -> Any:
    """Puts fresh adapters, drawn from the seed, on the model. Only the adapters are trained, and a scalar head `score` in
    full.

    Raises `UserError` if a target does not name a module, or names a module on which an adapter does not act.
    """
    from peft import LoraConfig, get_peft_model

    idle = find_idle_layers(model)
    for target in settings.targets:
        if any(name.endswith(f".{target}") for name in idle):
            raise UserError(f"LoRA on {target!r} does not fit this model, which does not use it as a linear layer.")
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft scales by alpha / rank, which may be a fraction
        target_modules=list(settings.targets) or "all-linear",
        exclude_modules=[*idle, *(["score"] if is_reward_model(model) else [])] or None,
        lora_dropout=0.0,
    )
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for an attribute by its old name
            warnings.filterwarnings("ignore", "fan_in_fan_out")  # transposed layers of GPT-2, which peft handles
            torch.manual_seed(seed)
            adapted: Any = get_peft_model(model, config)
    except ValueError as error:
        raise UserError(f"LoRA with targets {list(settings.targets)} does not fit this model: {error}") from error
    if is_reward_model(model):
        model.score.requires_grad_(True)
    return adapted.eval()


@torch.no_grad()
def find_idle_layers(model: Any) -> list[str]:
    """Lists the linear layers on which an adapter would not act, or would act differently once it is merged. These are the
    layers whose weights the model reads without calling the layer, and the layers whose output is not W x + b (a router's
    choice of experts).

    A short text passes through the model. A layer that this text does not reach, such as another expert, is taken to be like
    its siblings.
    """
    linear, idle = set[str](), set[str]()

    def watch(kind: str) -> Any:
        def see(module: Any, inputs: tuple[Any, ...], output: Any) -> None:
            weight = module.weight.T if isinstance(module, Conv1D) else module.weight
            plain = isinstance(output, Tensor) and output.shape == (*inputs[0].shape[:-1], len(weight))
            if plain:
                expected = nn.functional.linear(inputs[0], weight, module.bias)
                plain = torch.allclose(output, expected, rtol=1e-3, atol=1e-4)
            (linear if plain else idle).add(kind)

        return see

    kinds = {name: re.sub(r"\d+", "*", name) for name, module in model.named_modules() if _is_linear(module)}
    hooks = [model.get_submodule(name).register_forward_hook(watch(kind)) for name, kind in kinds.items()]
    try:
        rows = model.get_input_embeddings().weight.shape[0]
        model(input_ids=torch.arange(8, device=model.device)[None, :] % rows, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    if model.config.model_type in MAMBA:
        idle |= {kind for kind in kinds.values() if kind.endswith("out_proj")}
    return [name for name, kind in kinds.items() if kind in idle or kind not in linear]


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, Conv1D))


def settings_of(model: Any) -> LoRA | None:
    """Returns the settings of the adapters; None if the model has no adapters. With these settings, a critic gets the same
    adapters as the model from which it is made.

    peft stores the path of every adapted layer; the last part of each path is valid under any head.
    """
    if not is_adapted(model):
        return None
    config = model.peft_config[model.active_adapter]
    targets = sorted({name.rpartition(".")[2] for name in config.target_modules})
    return LoRA(rank=config.r, alpha=config.lora_alpha, targets=tuple(targets))


def merge(model: Any) -> Any:
    """Returns the model with its adapters merged, plain and trainable in full. A wrapped model cannot be used afterwards."""
    return model.merge_and_unload().requires_grad_(True) if is_adapted(model) else model


def save_plain(model: Any, directory: Path) -> None:
    """Writes plain weights as safetensors; if the model has adapters, those of a merged copy. The copy is made on the CPU,
    since a GPU may have no room for it."""
    logging.disable_progress_bar()  # preflab shows its own progress
    if not is_adapted(model):
        model.save_pretrained(directory)
        return
    device = model.device
    try:
        merge(copy.deepcopy(model.cpu())).save_pretrained(directory)
    finally:
        model.to(device)


def save_adapters(model: Any, directory: Path) -> None:
    """Writes a model's adapters in the form that `PeftModel.from_pretrained` reads, with the name of their base model. A
    reward model's scalar head, which no base model has, is written with them."""
    from peft import get_peft_model_state_dict

    directory.mkdir()
    head = model.get_base_model().score.state_dict() if is_reward_model(model) else {}
    kind = {"task_type": SCORING, "modules_to_save": ["score"]} if head else {"task_type": "CAUSAL_LM"}
    replace(model.peft_config[model.active_adapter], inference_mode=True, **kind).save_pretrained(directory)
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    state |= {f"base_model.model.score.{name}": tensor for name, tensor in head.items()}
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    save_file(weights, directory / "adapter_model.safetensors", metadata={"format": "pt"})


def merge_saved(model: Any, directory: Path) -> Any:
    """Returns the model with saved adapters merged. Raises `UserError` if the adapters do not fit the model."""
    from peft import PeftModel

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            adapted = PeftModel.from_pretrained(model, directory)
            merged: Any = merge(adapted)
    except Exception as error:  # peft may raise anything on files from elsewhere
        raise UserError(f"The adapters in {directory} do not fit {model.name_or_path}: {first_line(error)}") from error
    lacking = next((str(warning.message) for warning in caught if "missing adapter keys" in str(warning.message)), "")
    if lacking:
        raise UserError(f"The adapters in {directory} do not fit {model.name_or_path}: {lacking.splitlines()[0][:200]}")
    return merged.eval()
