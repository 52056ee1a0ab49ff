"""Loads a language model by its name: the built-in `tiny`, SmolLM2, a model in a directory, or a model on the hub.

A model on the hub is first downloaded into a local directory, so all models except `tiny` are read from a directory.
Weights are read only from safetensors files. Importing this module does not import torch.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from preflab.errors import UserError
from preflab.models.check import check_causal, check_loaded, check_reads_left_to_right, check_safetensors, check_sizes
from preflab.models.hub import call_in_time, first_line
from preflab.models.spec import ModelSpec
from preflab.paths import user_path
from preflab.spec import read_data
from preflab.text import one_line

if TYPE_CHECKING:
    import torch

    from preflab.models.lm import LanguageModel

HUB_PATIENCE = 8.0  # the number of seconds to wait for the hub's answer
ADAPTER_CONFIG = "adapter_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
CONFIGURATION_FILES: tuple[str, ...] = ("*.json",)
MODEL_FILES: tuple[str, ...] = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")


def load_model(
    spec: ModelSpec, *, seed: int, device: str = "cpu", dtype: torch.dtype | None = None, date: str = ""
) -> LanguageModel:
    """Loads the model that `spec` describes, in evaluation mode. All weights have the type `dtype` (None: fp32).

    `seed`: the seed for the weights of `tiny` and of new LoRA adapters. `date`: see `load_directory`. Raises
    `UserError` if the model cannot be loaded.
    """
    from preflab.models import lora, tiny

    if spec.name == "tiny":
        lm = tiny.make_tiny(spec.tiny, seed=seed)
    else:
        lm = load_directory(find_directory(spec), trust_remote_code=spec.trust_remote_code, date=date)
        if spec.name != "smollm2" and not user_path(spec.name).is_dir():
            lm.model.name_or_path = spec.name
    model = lm.model.to(device=device, dtype=dtype)
    if spec.lora is not None:
        model = lora.attach(model, spec.lora, seed=seed)
    return lm.with_model(model)


def find_directory(spec: ModelSpec, files: Sequence[str] = MODEL_FILES) -> Path:
    """Returns the local directory of a model other than `tiny`. If the model is not in a local directory, downloads it
    from the hub. `files`: the patterns of the files to download."""
    from preflab.models import smollm2

    if spec.name == "smollm2":
        return smollm2.fetch()
    local = user_path(spec.name)
    return local if local.is_dir() else fetch_from_hub(spec, files)


def load_directory(path: Path, *, trust_remote_code: bool = False, date: str = "") -> LanguageModel:
    """Loads a causal LM that preflab, TRL or transformers saved, in fp32 on the CPU. If the directory contains only
    LoRA adapters in peft's format, loads their base model and merges the adapters into the base model.

    `date`: the date (ISO) for a chat template that writes a date; '' for today. For a model that preflab trained, the
    date of the training is used instead. Raises `UserError` if a file is missing or damaged, if the model is not
    causal, if its tokenizer has no end token, or if no `ChatForm` matches its chat template.
    """
    from preflab.models import tokens

    if holds_adapters_alone(path):
        base = load_adapters_base(path, trust_remote_code=trust_remote_code, date=date)
        return merge_adapters(path, base, side="left", trust_remote_code=trust_remote_code, date=date)
    check_causal(path, read_config(path, trust_remote_code=trust_remote_code))
    model = read_model(path, "AutoModelForCausalLM", trust_remote_code=trust_remote_code)
    check_reads_left_to_right(path, model)
    lm = join_tokenizer(path, model, trust_remote_code=trust_remote_code, date=date)
    tokens.pad_on(lm.tokenizer, "left")
    if model.generation_config is not None:  # `generate` of transformers then ends answers as preflab does
        model.generation_config.eos_token_id, model.generation_config.pad_token_id = list(lm.end_ids), lm.pad_id
    return lm


def holds_adapters_alone(path: Path) -> bool:
    """Checks whether a directory contains adapters in peft's format, but no whole model."""
    return (path / ADAPTER_CONFIG).is_file() and not (path / "config.json").is_file()


def load_adapters_base(
    path: Path, *, scoring: bool = False, trust_remote_code: bool = False, date: str = ""
) -> LanguageModel:
    """Loads the base model of saved adapters. `path`: the directory of the adapters. `scoring`: True to load adapters
    of a reward model, False to load adapters of a policy.

    Raises `UserError` if the adapters do not belong to such a model, if their configuration does not name a base model,
    or if the base model cannot be loaded.
    """
    from preflab.models import lora

    base, config = read_adapters_base(path), read_adapter_config(path)
    if (config.get("task_type") == lora.SCORING) != scoring:
        kinds = ("policy", "reward model")
        raise UserError(
            f"{path} contains the adapters of a {kinds[not scoring]}. Give the adapters of a {kinds[scoring]}."
        )
    check_safetensors(path)
    return load_model(base.model_copy(update={"trust_remote_code": trust_remote_code}), seed=0, date=date)


def read_adapters_base(path: Path) -> ModelSpec:
    """Returns the spec of the base model of saved adapters. `path`: the directory of the adapters. Raises `UserError`
    if the configuration of the adapters does not name a base model."""
    config = read_adapter_config(path)
    name = config.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise UserError(
            f"{path} contains only adapters, and its {ADAPTER_CONFIG} names no base model. Set "
            "`base_model_name_or_path` to the base model's directory or hub name, or save a merged model "
            "(peft: merge_and_unload)."
        )
    return ModelSpec(name=name, revision=config.get("revision"))


def read_adapter_config(path: Path) -> dict[str, Any]:
    data = read_data(path / ADAPTER_CONFIG)
    return data if isinstance(data, dict) else {}


def merge_adapters(
    path: Path, lm: LanguageModel, *, side: Literal["left", "right"], trust_remote_code: bool = False, date: str = ""
) -> LanguageModel:
    """Merges saved adapters into their base model `lm`. If a tokenizer was saved with the adapters, it replaces the
    tokenizer of the base model. `side`: the side on which this tokenizer pads. Raises `UserError` if the adapters do
    not fit the base model."""
    from preflab.models import lora, tokens

    model = lora.merge_saved(lm.model, path)
    model.name_or_path = str(path.absolute())
    if (path / TOKENIZER_CONFIG).is_file():
        lm = join_tokenizer(path, model, trust_remote_code=trust_remote_code, date=date)
        tokens.pad_on(lm.tokenizer, side)
    return lm.with_model(model)


def join_tokenizer(
    path: Path, model: Any, *, trust_remote_code: bool = False, chat: str = "", date: str = ""
) -> LanguageModel:
    """Makes a `LanguageModel` from a loaded model and the files in its directory. The files give the tokenizer, the
    chat form, the end ids, the padding id, the context and the notices. `chat`: the chat template to use if the
    tokenizer does not have a chat template; '' for a plain chat template."""
    import torch

    from preflab.models import template, tokens
    from preflab.models.facts import read_facts
    from preflab.models.lm import LanguageModel

    tokenizer = read_tokenizer(path, trust_remote_code=trust_remote_code)
    facts, rows = read_facts(path), model.get_input_embeddings().weight.shape[0]
    template.ensure_template(tokenizer, chat)
    day = facts.date or date or datetime.date.today().isoformat()
    form, written, used = template.read_form(tokenizer, rows=rows, date=day, where=str(path))
    tokens.check_embedding(tokenizer, used, rows=rows, where=str(path))
    ends = tokens.end_ids(tokenizer, model, written, where=str(path))
    pad = tokens.pad_id(tokenizer, model, used, ends)
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    context = int(longest or min(tokenizer.model_max_length, 1 << 20))
    form = replace(form, closing=facts.closing, control=tuple(dict.fromkeys((*form.control, tokenizer.pad_token))))
    return LanguageModel(model.to(torch.float32), tokenizer, ends, pad, context, facts.notices, form, facts.role)


def read_tokenizer(path: Path, *, trust_remote_code: bool) -> Any:
    """Returns the tokenizer that was saved in a directory, unchanged. Raises `UserError` if the tokenizer cannot be
    read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except Exception as error:  # the libraries can raise any exception on a damaged file
        raise UserError(f"The tokenizer in {path} cannot be read: {first_line(error)}") from error


def read_config(path: Path, *, trust_remote_code: bool) -> Any:
    """Returns the configuration of the model in a directory. Raises `UserError` if the configuration is missing or
    damaged, or if the model comes with Python code and `trust_remote_code` is False."""
    from transformers import AutoConfig

    if not (path / "config.json").is_file():
        within = sorted(config.parent for config in path.glob("*/config.json"))
        hint = f" Did you mean {within[-1]}?" if within else ""
        raise UserError(
            f"{path} is not a model: it has no config.json. Give a directory that `save_pretrained` of transformers "
            f"wrote.{hint}"
        )
    check_sizes(path)
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    except Exception as error:  # the libraries can raise any exception on a damaged file
        if "trust_remote_code" in str(error):
            raise UserError(
                f"The model in {path} comes with Python code. Read this code, then set `trust_remote_code: true`."
            ) from error
        raise UserError(f"{path / 'config.json'} cannot be read: {one_line(str(error))[:300]}") from error


def read_model(path: Path, auto: str, *, trust_remote_code: bool = False, **settings: Any) -> Any:
    """Returns the model in a directory, in evaluation mode. `auto`: the name of the auto class of transformers that
    loads the model. `settings`: further arguments of `from_pretrained`.

    Raises `UserError` if the directory has no safetensors file, if a file is damaged, or if weights are missing.
    """
    import torch
    import transformers

    check_safetensors(path)
    settings |= {"dtype": "auto", "use_safetensors": True, "trust_remote_code": trust_remote_code}
    transformers.utils.logging.disable_progress_bar()  # preflab shows its own progress instead
    try:
        with torch.random.fork_rng(devices=[]):
            model, report = getattr(transformers, auto).from_pretrained(path, output_loading_info=True, **settings)
    except Exception as error:  # the libraries can raise any exception on a damaged file
        raise UserError(f"The model in {path} cannot be read: {first_line(error)}") from error
    mismatched = (str(key[0]) for key in report["mismatched_keys"])
    check_loaded(path, model, {*map(str, report["missing_keys"]), *mismatched}, map(str, report["unexpected_keys"]))
    # Rounding in sums may depend on the memory addresses of the weights, so no weight stays in the memory-mapped file.
    for weight in model.parameters():
        weight.data = weight.data.clone()
    model.name_or_path = str(path.absolute())  # saved adapters name their base model by this path
    return model.eval()


def fetch_from_hub(spec: ModelSpec, files: Sequence[str] = MODEL_FILES) -> Path:
    """Downloads files of a model from the hub, and returns the local directory of these files. If the hub does not
    answer, returns the model's directory in the local cache. `files`: the patterns of the files to download.

    Raises `UserError` within ten seconds if the hub has no such model, or if the hub does not answer and the model is
    not in the cache.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError

    files = [*files, "*.py"] if spec.trust_remote_code else list(files)
    trouble = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else ask_hub(spec)
    try:
        return Path(
            snapshot_download(spec.name, revision=spec.revision, allow_patterns=files, local_files_only=bool(trouble))
        )
    except HFValidationError as error:
        raise UserError(
            f"There is no directory {spec.name!r}, and a model on the hub cannot have this name."
        ) from error
    except Exception as error:  # the network, the file system or the hub can raise any exception
        place = "is not in the local cache" if trouble else "cannot be fetched"
        raise UserError(
            f"There is no directory {spec.name!r}, and a hub model of this name {place} "
            f"({trouble or first_line(error)}). "
            'Check the name; "tiny" and "smollm2" need no hub.'
        ) from error


def ask_hub(spec: ModelSpec) -> str:
    """Asks the hub whether it has this model. Returns '' if the hub has the model, and the reason if the hub does not
    answer. Raises `UserError` if the hub does not have the model, or if the user must first accept the model's
    terms."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    error = call_in_time(
        lambda: HfApi().model_info(spec.name, revision=spec.revision, timeout=HUB_PATIENCE - 1), HUB_PATIENCE
    )
    if isinstance(error, GatedRepoError):
        raise UserError(
            f"The model {spec.name!r} has terms of use. Accept them on the hub, then run `hf auth login`."
        ) from error
    if isinstance(error, RepositoryNotFoundError | RevisionNotFoundError):
        at = f" at revision {spec.revision!r}" if isinstance(error, RevisionNotFoundError) else ""
        raise UserError(f"There is no directory {spec.name!r}, and the hub has no such model{at}.") from error
    return "" if error is None else f"{constants.ENDPOINT} does not answer: {first_line(error)}"
