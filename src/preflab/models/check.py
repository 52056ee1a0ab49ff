"""Checks whether preflab can train saved weights, by their configuration and by what the model then does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.models.hub import first_line

SIZES = (
    *(
        "num_hidden_layers",
        "num_layers",
        "n_layers",
        "n_layer",
        "num_attention_heads",
        "num_heads",
        "n_heads",
        "n_head",
    ),
    *("hidden_size", "d_model", "n_embd", "vocab_size"),
)
"""The fields of a configuration that hold a size, under the names that the model families use."""


def check_sizes(path: Path) -> None:
    """Raises `UserError` if a size in config.json is not a positive number: transformers would build a model without layers,
    and drop the weights of all layers."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # transformers explains this error itself
        return
    for part in (config, config.get("text_config") if isinstance(config, dict) else None):
        sizes = part if isinstance(part, dict) else {}
        for name in SIZES:
            size = sizes.get(name, 1)
            if size is not None and (not isinstance(size, int) or size < 1):
                raise UserError(f"{path / 'config.json'}: {name} is {size!r}. It must be a whole number, 1 or more.")


def check_causal(path: Path, config: Any) -> None:
    """Raises `UserError` unless the configuration names a causal language model."""
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
    """Raises `UserError` if a token changes the logits before it, as in an encoder's language model, or if the model does
    not run. The model is run, since configurations do not settle this: some say what their models do (`is_decoder`), but a
    model whose configuration says nothing may be causal."""
    import torch

    try:
        with torch.no_grad():
            first, second = (
                model(input_ids=torch.tensor([[0, 1, last]]), use_cache=False).logits[0, :2].float() for last in (0, 1)
            )
    except Exception as error:  # a configuration that does not fit itself may raise anything
        raise UserError(f"The model in {path} does not run: {first_line(error)} Correct its config.json.") from error
    if not torch.allclose(first, second, rtol=1e-3, atol=1e-3 * float(first.abs().max())):
        raise _not_causal(path, type(model).__name__, " It reads from both sides.")


def check_loaded(path: Path, model: Any, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    """Raises `UserError` if the file lacks weights of the model, or holds layers that the configuration leaves out."""
    absent = sorted(missing)
    if absent:
        raise UserError(f"{path} lacks weights that its config.json asks for, among them {', '.join(absent[:3])}.")
    lists = {name for name, module in model.named_modules() if type(module).__name__ == "ModuleList"}
    dropped = sorted(key for key in unexpected if any(key[: m.start()] in lists for m in re.finditer(r"\.\d+\.", key)))
    if dropped:
        raise UserError(
            f"{path} holds layers that its config.json leaves out, among them {dropped[0]}. Correct the number of layers "
            "in config.json."
        )


def check_safetensors(path: Path) -> None:
    """Raises `UserError` unless every weights file opens. If there are only pickles, the message says what to do."""
    from safetensors import SafetensorError, safe_open

    files = sorted(path.glob("*.safetensors"))
    if not files:
        pickles = sorted(file.name for file in (*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth")))
        if pickles:
            raise UserError(
                f"{path} holds its weights as {pickles[0]}, a pickle, which can run code when read. preflab reads "
                "only safetensors: load it with transformers where you trust it, and `save_pretrained` it again."
            )
        raise UserError(f"{path} has a config.json but no weights (*.safetensors).")
    for file in files:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file} is damaged: {first_line(error)} Fetch or save it again.") from error


def _not_causal(path: Path, what: str, hint: str) -> UserError:
    return UserError(
        f"{path} holds a {what}, which is not a causal language model.{hint} Name a model that writes text from "
        "left to right (a ...ForCausalLM)."
    )
