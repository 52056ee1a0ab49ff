"""Checks whether preflab can train a saved model. The checks read the model's configuration and run the model on a few
tokens."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.models.hub import first_line

LAYERS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
MODEL_WIDTHS = ("hidden_size", "d_model", "n_embd", "vocab_size")
SIZES = (
    *LAYERS,
    *("num_attention_heads", "num_heads", "n_heads", "n_head"),
    *MODEL_WIDTHS,
    *("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"),
)
"""The names of sizes in the configurations of the model families."""
BASES = ("rope_theta", "rope_local_base_freq", "rotary_emb_base")
"""The names of the base of the rotary position embeddings in the configurations. A base of 0 would give NaN at later
positions."""
ROTARY = ("rope_parameters", "rope_scaling")
"""The names of the settings of the rotary position embeddings in the configurations. The value is one group of
settings, or one group of settings for each type of layer."""


def check_sizes(path: Path) -> None:
    """Raises `UserError` if a size in config.json is not a positive integer, or if the base of the rotary position
    embeddings is not a positive number. If the number of layers were 0, transformers would silently ignore the weights
    of all layers."""
    for sizes in _read_parts(path):
        for name in SIZES:
            size = sizes.get(name, 1)
            if size is not None and (not isinstance(size, int) or size < 1):
                raise UserError(f"{path / 'config.json'}: {name} is {size!r}. It must be a whole number, 1 or more.")
        _check_bases(path, sizes)


def _read_parts(path: Path) -> list[dict[str, Any]]:
    """Returns the groups of settings in config.json that may contain sizes: the whole file, and `text_config`. Returns
    an empty list if the file cannot be read, because transformers reports this error later."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    parts = (config, config.get("text_config") if isinstance(config, dict) else None)
    return [part for part in parts if isinstance(part, dict)]


def _check_bases(path: Path, settings: dict[str, Any]) -> None:
    """Raises `UserError` if a base of the rotary position embeddings is not a positive number. The function checks
    `settings` itself, and each group of settings in `settings` whose name is in `ROTARY`."""
    for name in BASES:
        base = settings.get(name, 1)
        number = isinstance(base, int | float) and not isinstance(base, bool)
        if base is not None and not (number and 0 < base < math.inf):
            raise UserError(f"{path / 'config.json'}: {name} is {base!r}. It must be a number greater than 0.")
    for group in (settings.get(name) for name in ROTARY):
        if isinstance(group, dict):
            for each in (group, *group.values()):
                if isinstance(each, dict):
                    _check_bases(path, each)


def check_causal(path: Path, config: Any) -> None:
    """Raises `UserError` if the configuration does not describe a causal language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    names = list(config.architectures or [])
    remote = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    known = remote or config.model_type in CAUSAL
    kind = any(name.endswith(("CausalLM", "LMHeadModel", "ForConditionalGeneration")) for name in names) or not names
    if config.is_encoder_decoder or not (known and kind):
        what = ", ".join(names) or config.model_type
        hint = " It is a reward model." if any(name.endswith("ForSequenceClassification") for name in names) else ""
        raise _not_causal(path, what, hint)


def check_reads_left_to_right(path: Path, model: Any) -> None:
    """Raises `UserError` if a token changes the logits of earlier tokens (as in a bidirectional encoder), if a logit is
    not finite, or if the model does not run. The check runs the model, because the names of some architectures do not
    show whether the model is causal. For example, a BERT model is causal only with the setting `is_decoder`."""
    import torch

    try:
        with torch.no_grad():
            first, second = (
                model(input_ids=torch.tensor([[0, 1, last]]), use_cache=False).logits[0, :2].float() for last in (0, 1)
            )
    except Exception as error:  # a contradictory configuration can raise any exception
        raise UserError(f"The model in {path} does not run: {first_line(error)} Correct its config.json.") from error
    if not (first.isfinite().all() and second.isfinite().all()):
        raise UserError(
            f"The model in {path} computes logits that are not finite numbers (NaN or infinity). Its weights are damaged. "
            "Download or save it again."
        )
    if not torch.allclose(first, second, rtol=1e-3, atol=1e-3 * float(first.abs().max())):
        raise _not_causal(path, type(model).__name__, " Its logits depend on later tokens.")


def check_loaded(path: Path, model: Any, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    """Raises `UserError` if weights of the model are missing in the files (`missing`), or if the files contain layers
    that the model does not have (`unexpected`)."""
    absent = sorted(missing)
    if absent:
        raise UserError(f"{path} lacks weights that its config.json requires, among them {', '.join(absent[:3])}.")
    lists = {name for name, module in model.named_modules() if type(module).__name__ == "ModuleList"}
    dropped = sorted(key for key in unexpected if any(key[: m.start()] in lists for m in re.finditer(r"\.\d+\.", key)))
    if dropped:
        raise UserError(
            f"{path} contains layers that its config.json leaves out, among them {dropped[0]}. Correct the number of "
            "layers in config.json."
        )


def check_safetensors(path: Path) -> None:
    """Raises `UserError` if the directory has no safetensors file, or if a safetensors file is damaged. If the weights
    are pickles, the message explains how to convert them. Also raises `UserError` if the files are too small for the
    sizes in config.json, because transformers would fill the memory with a model of these sizes."""
    from safetensors import SafetensorError, safe_open

    files = sorted(path.glob("*.safetensors"))
    if not files:
        pickles = sorted(file.name for file in (*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth")))
        if pickles:
            raise UserError(
                f"The weights in {path} are in {pickles[0]}, a pickle, which can run code when read. preflab reads "
                "only safetensors. If you trust the file, load it with transformers and save it with `save_pretrained`."
            )
        raise UserError(f"{path} has a config.json but no weights (*.safetensors).")
    weights: list[int] = []
    for file in files:
        try:
            with safe_open(file, framework="pt") as held:
                weights += [math.prod(held.get_slice(name).get_shape()) for name in held.keys()]  # noqa: SIM118  (the file is not a mapping)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file} is damaged: {first_line(error)} Download or save it again.") from error
    _check_fit(path, weights)


def _check_fit(path: Path, weights: Sequence[int]) -> None:
    """Raises `UserError` if the sizes in config.json are too large for the saved tensors. The number of layers must not
    exceed the number of tensors. A width must not exceed the number of weights in the largest tensor. `weights`: the
    number of weights in each tensor."""
    limits = dict.fromkeys(LAYERS, len(weights)) | dict.fromkeys(MODEL_WIDTHS, max(weights, default=0))
    for part in _read_parts(path):
        for name, limit in limits.items():
            size = part.get(name)
            if isinstance(size, int) and size > limit:
                raise UserError(
                    f"{path / 'config.json'}: {name} is {size}, which is too large for the saved weights. "
                    "Correct this number, or download the whole model again."
                )


def _not_causal(path: Path, what: str, hint: str) -> UserError:
    return UserError(
        f"The model in {path} is a {what}, which is not a causal language model.{hint} Name a model that writes text "
        "from left to right (a ...ForCausalLM)."
    )
