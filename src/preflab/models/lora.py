"""Attaches low-rank adapters (LoRA) to a model with peft, and merges adapters into plain weights.

New adapters do not change the model's outputs, since their matrix B is 0. Until the first update, a policy with
adapters therefore equals the model that it was made from, and a reference copied at that time equals this model too. If
the policy starts from a saved SFT model, the reference equals the SFT model, since saving merges the adapters. preflab
saves the merged weights, and saves the adapters in a folder beside the weights.
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
"""The name of the folder for a policy's adapters, inside the directory of the merged weights."""
MAMBA = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")
"""Model families with fused kernels that use the weights of `out_proj` without calling the layer. peft refuses adapters
on `out_proj` in these families."""


SCORING = "SEQ_CLS"
"""The name that peft gives to the task of a reward model: sequence classification."""


def is_adapted(model: Any) -> bool:
    """Returns whether the model is wrapped by peft."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def is_reward_model(model: Any) -> bool:
    """Checks whether the model, with or without adapters, has the scalar head `score` of a reward model."""
    return hasattr(model, "score")


def attach(model: Any, settings: LoRA, *, seed: int) -> Any:
    """Adds new adapters, drawn with `seed`, to the model. Only the adapters are trainable; if the model has a scalar
    head `score`, this head is trainable too.

    Raises `UserError` if a target does not name a module, or names a module on which an adapter has no effect.
    """
    from peft import LoraConfig, get_peft_model

    idle = find_idle_layers(model)
    for target in settings.targets:
        if any(name.endswith(f".{target}") for name in idle):
            raise UserError(
                f"LoRA on {target!r} does not fit this model, which does not use this layer as a linear layer."
            )
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft scales by alpha / rank, so alpha may be a fraction
        target_modules=list(settings.targets) or "all-linear",
        exclude_modules=[*idle, *(["score"] if is_reward_model(model) else [])] or None,
        lora_dropout=0.0,
    )
    _check_rank(model, settings, idle)
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft uses the old name of a transformers attribute
            warnings.filterwarnings("ignore", "fan_in_fan_out")  # peft handles the transposed layers of GPT-2
            torch.manual_seed(seed)
            adapted: Any = get_peft_model(model, config)
    except ValueError as error:
        raise UserError(f"LoRA with targets {list(settings.targets)} does not fit this model: {error}") from error
    if is_reward_model(model):
        model.score.requires_grad_(True)
    return adapted.eval()


@torch.no_grad()
def find_idle_layers(model: Any) -> list[str]:
    """Lists the linear layers on which an adapter would have no effect, or would have another effect once it is merged.
    The model uses the weights of some of these layers without calling the layer. The output of the others is not W x +
    b; an example is a router that selects experts.

    The function runs the model on a few tokens and watches each layer. A layer that is not called, such as an unused
    expert, is treated like the called layers whose names differ from its name only in numbers.
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


def _check_rank(model: Any, settings: LoRA, idle: list[str]) -> None:
    """Raises `UserError` if the rank is larger than the width of every adapted matrix, since every adapter would then
    have more parameters than its matrix. `idle`: the layers without adapters."""
    head = None if settings.targets else model.get_output_embeddings()  # has an adapter only if it is a target
    names = [f".{target}" for target in settings.targets] or [""]
    shapes = [
        tuple(module.weight.shape)
        for name, module in model.named_modules()
        if _is_linear(module) and module is not head and name not in idle and f".{name}".endswith(tuple(names))
    ]
    widest = max((max(shape) for shape in shapes), default=settings.rank)
    if settings.rank > widest:
        raise UserError(
            f"LoRA of rank {settings.rank} does not fit this model: its widest adapted matrix has a width of {widest}. "
            f"Set a rank of {widest} or less."
        )


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, Conv1D))


def settings_of(model: Any) -> LoRA | None:
    """Returns the settings of the model's adapters; None if the model has no adapters. A critic or a reward model made
    from the model gets adapters with the same settings.

    peft stores the full path of every adapted layer. Only the last part of each path is returned, since this part is
    the same with any head.
    """
    if not is_adapted(model):
        return None
    config = model.peft_config[model.active_adapter]
    targets = sorted({name.rpartition(".")[2] for name in config.target_modules})
    return LoRA(rank=config.r, alpha=config.lora_alpha, targets=tuple(targets))


def merge(model: Any) -> Any:
    """Returns the plain model with its adapters merged and all weights trainable. A model wrapped by peft cannot be
    used afterwards."""
    return model.merge_and_unload().requires_grad_(True) if is_adapted(model) else model


def save_plain(model: Any, directory: Path) -> None:
    """Writes plain weights as safetensors. If the model has adapters, they are merged in a copy of the model. The copy
    is made on the CPU, since the GPU may have no memory for it."""
    logging.disable_progress_bar()  # preflab shows its own progress instead
    if not is_adapted(model):
        model.save_pretrained(directory)
        return
    device = model.device
    try:
        merge(copy.deepcopy(model.cpu())).save_pretrained(directory)
    finally:
        model.to(device)


def save_adapters(model: Any, directory: Path) -> None:
    """Writes a model's adapters in the format that `PeftModel.from_pretrained` reads, with the name of their base
    model. The scalar head of a reward model is written with them, since no base model has this head."""
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
    """Merges saved adapters into the model and returns the merged model. Raises `UserError` if the adapters do not fit
    the model."""
    from peft import PeftModel

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            adapted = PeftModel.from_pretrained(model, directory)
            merged: Any = merge(adapted)
    except Exception as error:  # peft may raise any exception on files that preflab did not write
        raise UserError(f"The adapters in {directory} do not fit {model.name_or_path}: {first_line(error)}") from error
    lacking = next((str(warning.message) for warning in caught if "missing adapter keys" in str(warning.message)), "")
    if lacking:
        raise UserError(f"The adapters in {directory} do not fit {model.name_or_path}: {lacking.splitlines()[0][:200]}")
    return merged.eval()
