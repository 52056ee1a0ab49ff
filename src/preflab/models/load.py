"""From a name to a live language model: the embedded model, SmolLM2, a model in a directory, or a model from the hub.

A model on the hub becomes a local directory first, so that all models but `tiny` are read in the same way. Only safetensors
are read. Importing this module loads no torch.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from preflab.errors import UserError
from preflab.models.check import check_causal, check_loaded, check_reads_left_to_right, check_safetensors, check_sizes
from preflab.models.hub import call_in_time, first_line
from preflab.models.spec import ModelSpec
from preflab.spec import read_data
from preflab.text import one_line

if TYPE_CHECKING:
    import torch

    from preflab.models.lm import LanguageModel

HUB_PATIENCE = 8.0  # seconds to wait for a hub that does not answer
ADAPTER_CONFIG = "adapter_config.json"
MODEL_FILES: tuple[str, ...] = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")


def load_model(
    spec: ModelSpec, *, seed: int, device: str = "cpu", dtype: torch.dtype | None = None, date: str = ""
) -> LanguageModel:
    """Loads the model that a spec names, in evaluation mode, with every weight in `dtype` (None: fp32).

    `seed` draws the weights of `tiny` and of fresh LoRA adapters. `date`: see `load_directory`. Raises `UserError` if the
    model cannot be loaded.
    """
    from preflab.models import lora, smollm2, tiny

    if spec.name == "tiny":
        lm = tiny.make_tiny(spec.tiny, seed=seed)
    elif spec.name == "smollm2":
        lm = load_directory(smollm2.fetch(), date=date)
    else:
        local = Path(spec.name).expanduser()
        is_local = local.is_dir()
        lm = load_directory(
            local if is_local else fetch_from_hub(spec), trust_remote_code=spec.trust_remote_code, date=date
        )
        if not is_local:
            lm.model.name_or_path = spec.name
    model = lm.model.to(device=device, dtype=dtype)
    if spec.lora is not None:
        model = lora.attach(model, spec.lora, seed=seed)
    return lm.with_model(model)


def load_directory(path: Path, *, trust_remote_code: bool = False, date: str = "") -> LanguageModel:
    """Loads a causal LM that preflab, TRL or transformers has saved, in fp32 on the CPU. If the directory holds LoRA
    adapters that peft has saved, loads the base model that they name and merges them into it.

    date: the day (ISO) given to a chat template that writes the date; '' for today. Weights that preflab saved keep the day
    of their training. Raises `UserError` if a file is missing or damaged, if the model is not causal, if its tokenizer has
    no end token, or if prompts and answers cannot be written as its chat template writes them.
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
    if model.generation_config is not None:  # transformers' own `generate` then ends where preflab's answers end
        model.generation_config.eos_token_id, model.generation_config.pad_token_id = list(lm.end_ids), lm.pad_id
    return lm


def holds_adapters_alone(path: Path) -> bool:
    """Checks whether a directory holds adapters that peft has saved, and no whole model."""
    return (path / ADAPTER_CONFIG).is_file() and not (path / "config.json").is_file()


def load_adapters_base(
    path: Path, *, scoring: bool = False, trust_remote_code: bool = False, date: str = ""
) -> LanguageModel:
    """Loads the base model that saved adapters name. `scoring`: whether they must be the adapters of a reward model; otherwise
    they must be those of a policy.

    Raises `UserError` if the adapters are of the other kind, or if they name no base model or one that cannot be loaded.
    """
    from preflab.models import lora

    data = read_data(path / ADAPTER_CONFIG)
    config: dict[str, Any] = data if isinstance(data, dict) else {}
    name = config.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise UserError(
            f"{path} holds adapters alone, and {ADAPTER_CONFIG} names no base model. Write its directory or hub name "
            "under `base_model_name_or_path`, or merge them into it (peft: merge_and_unload)."
        )
    if (config.get("task_type") == lora.SCORING) != scoring:
        kinds = ("policy", "reward model")
        raise UserError(f"{path} holds the adapters of a {kinds[not scoring]}: name those of a {kinds[scoring]}.")
    check_safetensors(path)
    spec = ModelSpec(name=name, revision=config.get("revision"), trust_remote_code=trust_remote_code)
    return load_model(spec, seed=0, date=date)


def merge_adapters(
    path: Path, lm: LanguageModel, *, side: Literal["left", "right"], trust_remote_code: bool = False, date: str = ""
) -> LanguageModel:
    """Merges saved adapters into their base model, and takes the adapters' own tokenizer if they have one. `side`: where the
    tokenizer pads. Raises `UserError` if the adapters do not fit the model."""
    from preflab.models import lora, tokens

    model = lora.merge_saved(lm.model, path)
    model.name_or_path = str(path.absolute())
    if (path / "tokenizer_config.json").is_file():
        lm = join_tokenizer(path, model, trust_remote_code=trust_remote_code, date=date)
        tokens.pad_on(lm.tokenizer, side)
    return lm.with_model(model)


def join_tokenizer(path: Path, model: Any, *, trust_remote_code: bool = False, date: str = "") -> LanguageModel:
    """Joins a model that was read from a directory with its tokenizer, its form of dialogues, its end and padding ids, its
    context and its notices."""
    import torch
    from transformers import AutoTokenizer

    from preflab.models import template, tokens
    from preflab.models.facts import read_facts
    from preflab.models.lm import LanguageModel

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except Exception as error:  # the libraries may raise anything on a damaged file
        raise UserError(f"The tokenizer in {path} cannot be read: {first_line(error)}") from error
    facts, rows = read_facts(path), model.get_input_embeddings().weight.shape[0]
    template.ensure_template(tokenizer)
    day = facts.date or date or datetime.date.today().isoformat()
    form, written, used = template.read_form(tokenizer, rows=rows, date=day, where=str(path))
    tokens.check_embedding(tokenizer, used, rows=rows, where=str(path))
    ends = tokens.end_ids(tokenizer, model, written, where=str(path))
    pad = tokens.pad_id(tokenizer, model, used, ends)
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    context = int(longest or min(tokenizer.model_max_length, 1 << 20))
    form = replace(form, closing=facts.closing, control=tuple(dict.fromkeys((*form.control, tokenizer.pad_token))))
    return LanguageModel(model.to(torch.float32), tokenizer, ends, pad, context, facts.notices, form)


def read_config(path: Path, *, trust_remote_code: bool) -> Any:
    """Reads the model's configuration. Raises `UserError` if the directory holds none, or if the configuration needs code of
    its own."""
    from transformers import AutoConfig

    if not (path / "config.json").is_file():
        raise UserError(
            f"{path} is not a model: it has no config.json. Name a directory that `save_pretrained` of transformers has "
            "written."
        )
    check_sizes(path)
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    except Exception as error:  # the libraries may raise anything on a damaged file
        if "trust_remote_code" in str(error):
            raise UserError(
                f"The model in {path} comes with code of its own. Read that code, then set `trust_remote_code: true`."
            ) from error
        raise UserError(f"{path / 'config.json'} cannot be read: {one_line(str(error))[:300]}") from error


def read_model(path: Path, auto: str, *, trust_remote_code: bool = False) -> Any:
    """Reads the model in a directory through one of transformers' auto classes (`auto`), in evaluation mode.

    Raises `UserError` if there are no safetensors, if a file is damaged, or if weights are missing.
    """
    import torch
    import transformers

    check_safetensors(path)
    transformers.utils.logging.disable_progress_bar()  # preflab shows its own progress
    try:
        with torch.random.fork_rng(devices=[]):
            model, report = getattr(transformers, auto).from_pretrained(
                path, dtype="auto", use_safetensors=True, trust_remote_code=trust_remote_code, output_loading_info=True
            )
    except Exception as error:  # the libraries may raise anything on a damaged file
        raise UserError(f"The model in {path} cannot be read: {first_line(error)}") from error
    mismatched = (str(key[0]) for key in report["mismatched_keys"])
    check_loaded(path, model, {*map(str, report["missing_keys"]), *mismatched}, map(str, report["unexpected_keys"]))
    for weight in model.parameters():  # moved out of the mapped file: a sum may depend on the address of its weights
        weight.data = weight.data.clone()
    model.name_or_path = str(path.absolute())  # adapters name their base model by this path
    return model.eval()


def fetch_from_hub(spec: ModelSpec) -> Path:
    """Returns the local directory of a model on the hub; if the hub does not answer, the directory in the cache.

    Raises `UserError` within ten seconds if the hub does not know the name, or if the hub does not answer and the cache
    lacks the model.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError

    files = [*MODEL_FILES, "*.py"] if spec.trust_remote_code else list(MODEL_FILES)
    trouble = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else ask_hub(spec)
    try:
        return Path(
            snapshot_download(spec.name, revision=spec.revision, allow_patterns=files, local_files_only=bool(trouble))
        )
    except HFValidationError as error:
        raise UserError(f"There is no directory {spec.name!r}, and it cannot be a name on the hub.") from error
    except Exception as error:  # the network, the file system or the hub may raise anything
        place = "is not in the local cache" if trouble else "cannot be fetched"
        raise UserError(
            f"There is no directory {spec.name!r}, and as a model on the hub it {place} ({trouble or first_line(error)}). "
            'Check the name; "tiny" and "smollm2" need no hub.'
        ) from error


def ask_hub(spec: ModelSpec) -> str:
    """Asks the hub for this model. Returns '' if the hub answers, else the reason why it does not. Raises `UserError` if the
    hub does not have the model."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    error = call_in_time(
        lambda: HfApi().model_info(spec.name, revision=spec.revision, timeout=HUB_PATIENCE - 1), HUB_PATIENCE
    )
    if isinstance(error, GatedRepoError):
        raise UserError(
            f"The model {spec.name!r} asks you to accept its terms on the hub; then `hf auth login`."
        ) from error
    if isinstance(error, RepositoryNotFoundError | RevisionNotFoundError):
        at = f" at revision {spec.revision!r}" if isinstance(error, RevisionNotFoundError) else ""
        raise UserError(f"There is no directory {spec.name!r}, and the hub knows no such model{at}.") from error
    return "" if error is None else f"{constants.ENDPOINT} does not answer: {first_line(error)}"
