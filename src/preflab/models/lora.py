"""Low-rank adapters through peft: attach them, and merge them into plain weights.

Fresh adapters change nothing (B = 0). So until its first update a policy under LoRA equals the model from which it was made,
and a reference taken then is that model: the SFT model, where the adapters of SFT were merged before, which saving does.
preflab always saves plain weights.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.utils import logging

from preflab.errors import UserError
from preflab.models.spec import LoRA


def is_adapted(model: Any) -> bool:
    """Whether peft wraps the model."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def attach(model: Any, settings: LoRA, *, seed: int) -> Any:
    """The model under fresh adapters drawn from the seed. Only they are trained, and a scalar head `score` in full.

    Raises `UserError` where a target does not name a module.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft scales by alpha / rank, which may be a fraction
        target_modules=list(settings.targets) or "all-linear",
        exclude_modules=["score"] if hasattr(model, "score") else None,
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
    if hasattr(model, "score"):
        model.score.requires_grad_(True)
    return adapted.eval()


def settings_of(model: Any) -> LoRA | None:
    """The settings of the adapters, None without adapters. With them a critic gets the adapters of the model it comes from.

    peft stores the path of every adapted layer; the last part of each fits under any head.
    """
    if not is_adapted(model):
        return None
    config = model.peft_config[model.active_adapter]
    targets = sorted({name.rpartition(".")[2] for name in config.target_modules})
    return LoRA(rank=config.r, alpha=config.lora_alpha, targets=tuple(targets))


def merge(model: Any) -> Any:
    """The model with its adapters merged, plain and trainable in full. A wrapped model cannot be used afterwards."""
    return model.merge_and_unload().requires_grad_(True) if is_adapted(model) else model


def save_plain(model: Any, directory: Path) -> None:
    """Writes plain weights as safetensors, the adapters merged in the file. The model itself does not change."""
    logging.disable_progress_bar()  # preflab shows its own progress
    if is_adapted(model):
        model.get_base_model().save_pretrained(directory, state_dict=merged_state(model))
    else:
        model.save_pretrained(directory)


def merged_state(model: Any) -> dict[str, Tensor]:
    """The state dict of the merged model: W + alpha/rank * B A where there are adapters. The model itself does not change."""
    base = model.get_base_model()
    deltas = {
        f"{name}.weight": module.get_delta_weight(model.active_adapter)
        for name, module in base.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    state = {
        name.replace(".base_layer.", "."): tensor for name, tensor in base.state_dict().items() if ".lora_" not in name
    }
    return {name: tensor + deltas[name] if name in deltas else tensor for name, tensor in state.items()}
