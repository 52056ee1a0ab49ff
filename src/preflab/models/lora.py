"""Attaches low-rank adapters (LoRA) to a model with peft, and merges adapters into plain weights.

New adapters do not change the model's outputs, because their matrix B is 0. Before the first update, a policy with new
adapters therefore equals its starting model. A reference that is copied at this time also equals the starting model.
preflab saves the merged weights, and the adapters in a folder beside the weights. A run that starts from a saved SFT
model therefore starts from merged weights, and its reference equals the SFT model.
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
"""The name of the folder for the adapters of a model, inside the directory of the merged weights."""
MAMBA = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")
"""Model families whose fused kernels use the weights of `out_proj` without calling this layer. peft refuses adapters on
`out_proj` in these families."""


SCORING = "SEQ_CLS"
"""The name in peft for the task of a reward model, which is sequence classification."""


def is_adapted(model: Any) -> bool:
    """Returns True if the model has adapters, that is, if peft wraps the model."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def is_reward_model(model: Any) -> bool:
    """Checks whether a model is a reward model, that is, whether it has a scalar head `score`. The model can have
    adapters."""
    return hasattr(model, "score")


def attach(model: Any, settings: LoRA, *, seed: int) -> Any:
    """Adds new adapters to a model and returns the model. The adapters are drawn with `seed`. Only the adapters are
    trainable, together with the scalar head `score` if the model has one.

    Raises `UserError` if a target is not the name of a module, if an adapter on this module would have no effect, or if
    the rank is too large.
    """
    from peft import LoraConfig, get_peft_model

    idle = find_idle_layers(model)
    for target in settings.targets:
        if any(name.endswith(f".{target}") for name in idle):
            raise UserError(
                f"LoRA on {target!r} does not fit this model, because it does not use this layer as a linear layer."
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
    """Returns the names of the linear layers on which adapters do not work. An adapter on such a layer would have no
    effect, or merging the adapter would change the model's outputs. The model either uses the weights of such a layer
    without calling the layer, or the output of the layer is not W x + b. For example, the output of a router is the
    choice of experts.

    The function runs the model on a few tokens and watches each linear layer. Layers whose names differ only in numbers
    form a group. A layer that is not called, such as an unused expert, is treated like the called layers of its group.
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
    """Raises `UserError` if the rank is larger than the width of every adapted matrix, because every adapter would then
    have more parameters than its matrix. `idle`: the names of the layers that get no adapter."""
    head = (
        None if settings.targets else model.get_output_embeddings()
    )  # the head gets an adapter only if it is a target
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
    """Returns the settings of a model's adapters, or None if the model has no adapters. These settings are used for the
    adapters of a critic or a reward model that is made from the model.

    peft stores the full path of every adapted layer. `targets` contains only the last part of each path, because the
    first parts depend on the head of the model.
    """
    if not is_adapted(model):
        return None
    config = model.peft_config[model.active_adapter]
    targets = sorted({name.rpartition(".")[2] for name in config.target_modules})
    return LoRA(rank=config.r, alpha=config.lora_alpha, targets=tuple(targets))


def merge(model: Any) -> Any:
    """Merges the adapters of a model into its weights. Returns the model without the wrapper of peft, with all weights
    trainable. The wrapped model cannot be used afterwards. A model without adapters is returned unchanged."""
    return model.merge_and_unload().requires_grad_(True) if is_adapted(model) else model


def save_plain(model: Any, directory: Path, *, dtype: torch.dtype | None = None) -> None:
    """Writes the weights of a model as safetensors. If the model has adapters, they are merged into a copy of the
    model, and the copy is written. The copy is made on the CPU, because the GPU may not have enough memory for a
    copy. `dtype`: the precision of the written weights; None for the model's own."""
    logging.disable_progress_bar()  # preflab shows its own progress instead
    if not is_adapted(model):
        _write(model, directory, dtype)
        return
    device = model.device
    try:
        _write(merge(copy.deepcopy(model.cpu())), directory, dtype)
    finally:
        model.to(device)


def _write(model: Any, directory: Path, dtype: torch.dtype | None) -> None:
    """Writes plain weights. A tensor under two names, such as an embedding that is also the vocabulary head, is cast
    once, so that `save_pretrained` still sees one tensor."""
    if dtype is None:
        model.save_pretrained(directory)
        return
    cast: dict[int, Tensor] = {}
    state: dict[str, Tensor] = {}
    for name, weight in model.state_dict().items():
        key = weight.data_ptr()
        if key not in cast:
            cast[key] = weight.to(dtype) if weight.is_floating_point() else weight
        state[name] = cast[key]
    model.save_pretrained(directory, state_dict=state)


def save_adapters(model: Any, directory: Path) -> None:
    """Writes a model's adapters and the name of their base model in the format that `PeftModel.from_pretrained` reads.
    For a reward model, the scalar head is also written, because the base model does not have this head."""
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
    """Merges the adapters that are saved in a directory into a model. Returns the merged model. Raises `UserError` if
    the adapters do not fit the model."""
    from peft import PeftModel

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            adapted = PeftModel.from_pretrained(model, directory)
            merged: Any = merge(adapted)
    except Exception as error:  # peft can raise any exception on files that preflab did not write
        raise UserError(f"The adapters in {directory} do not fit {model.name_or_path}: {first_line(error)}") from error
    lacking = next((str(warning.message) for warning in caught if "missing adapter keys" in str(warning.message)), "")
    if lacking:
        raise UserError(f"The adapters in {directory} do not fit {model.name_or_path}: {lacking.splitlines()[0][:200]}")
    return merged.eval()
