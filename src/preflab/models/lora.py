"""Low-rank adapters through peft: put them on, and fold them into plain weights again.

Freshly made adapters change nothing (B = 0), so that a policy under LoRA equals the model it was made from until its
first update, and a reference taken then is that model: the SFT model where SFT's adapters were merged before, which
saving does. What is saved is always plain weights.
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
    """Whether a model is wrapped by peft."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def attach(model: Any, settings: LoRA, *, seed: int) -> Any:
    """The model under fresh adapters drawn from the seed. Only they are trained, and a scalar head `score` in full.

    Raises `UserError` where a target names no module.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft scales by alpha / rank, whole or not
        target_modules=list(settings.targets) or "all-linear",
        exclude_modules=["score"] if hasattr(model, "score") else None,
        lora_dropout=0.0,
    )
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for an attribute by its old name
            warnings.filterwarnings("ignore", "fan_in_fan_out")  # of GPT-2's transposed layers, which peft sets right
            torch.manual_seed(seed)
            adapted: Any = get_peft_model(model, config)
    except ValueError as error:
        raise UserError(f"LoRA with targets {list(settings.targets)} does not fit this model: {error}") from error
    if hasattr(model, "score"):
        model.score.requires_grad_(True)
    return adapted.eval()


def settings_of(model: Any) -> LoRA | None:
    """The adapters' settings, None without adapters: a critic is adapted as the model that it was made from.

    peft spells out the path of every adapted layer; the last names fit whatever head stands above.
    """
    if not is_adapted(model):
        return None
    config = model.peft_config[model.active_adapter]
    targets = sorted({name.rpartition(".")[2] for name in config.target_modules})
    return LoRA(rank=config.r, alpha=config.lora_alpha, targets=tuple(targets))


def merge(model: Any) -> Any:
    """The model with its adapters folded in, plain and trainable in full. A wrapped model is used up by this."""
    return model.merge_and_unload().requires_grad_(True) if is_adapted(model) else model


def save_plain(model: Any, directory: Path) -> None:
    """Writes plain weights as safetensors, adapters folded in on the way; the model goes on training untouched."""
    logging.disable_progress_bar()  # preflab shows its own
    if is_adapted(model):
        model.get_base_model().save_pretrained(directory, state_dict=merged_state(model))
    else:
        model.save_pretrained(directory)


def merged_state(model: Any) -> dict[str, Tensor]:
    """The state dict of the merged model: W + alpha/rank * B A where there are adapters, computed beside the model."""
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
