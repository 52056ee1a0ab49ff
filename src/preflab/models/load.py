"""From a name to a live language model: the embedded one, SmolLM2, a directory, or one from the hub.

A model on the hub becomes a local directory first, so that all models but `tiny` are read in the same way. Only safetensors
are read. Importing this module loads no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.errors import UserError
from preflab.models.hub import call_in_time, first_line
from preflab.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch

    from preflab.models.lm import LanguageModel

HUB_PATIENCE = 8.0  # seconds to wait for a hub that does not answer
MODEL_FILES: tuple[str, ...] = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")


def load_model(spec: ModelSpec, *, seed: int, device: str = "cpu", dtype: torch.dtype | None = None) -> LanguageModel:
    """The model that a spec names, in evaluation mode, with every weight in `dtype` (None: fp32).

    `seed` draws the weights of `tiny` and of fresh LoRA adapters. Raises `UserError` where the model cannot be loaded.
    """
    from preflab.models import lora, smollm2, tiny

    if spec.name == "tiny":
        lm = tiny.make_tiny(spec.tiny, seed=seed)
    elif spec.name == "smollm2":
        lm = load_directory(smollm2.fetch())
    else:
        local = Path(spec.name).expanduser()
        lm = load_directory(local if local.is_dir() else fetch_from_hub(spec), trust_remote_code=spec.trust_remote_code)
    model = lm.model.to(device=device, dtype=dtype)
    if spec.lora is not None:
        model = lora.attach(model, spec.lora, seed=seed)
    return lm.with_model(model)


def load_directory(path: Path, *, trust_remote_code: bool = False) -> LanguageModel:
    """A causal LM that preflab, TRL or transformers has saved, in fp32 on the CPU.

    Raises `UserError` where a file is missing or damaged, the model is not causal, or its tokenizer has no end token.
    """
    from preflab.models import tokens

    check_causal(path, read_config(path, trust_remote_code=trust_remote_code))
    model = read_model(path, "AutoModelForCausalLM", trust_remote_code=trust_remote_code)
    lm = join_tokenizer(path, model, trust_remote_code=trust_remote_code)
    tokens.pad_on(lm.tokenizer, "left")
    if model.generation_config is not None:  # so that transformers' own `generate` ends where preflab's answers end
        model.generation_config.eos_token_id, model.generation_config.pad_token_id = list(lm.end_ids), lm.pad_id
    return lm


def join_tokenizer(path: Path, model: Any, *, trust_remote_code: bool = False) -> LanguageModel:
    """Joins a model that was read from a directory with its tokenizer, end and padding ids, context and notices."""
    import torch
    from transformers import AutoTokenizer

    from preflab.models import tokens
    from preflab.models.lm import LanguageModel, read_notices

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except Exception as error:  # the libraries may raise anything on a damaged file
        raise UserError(f"The tokenizer in {path} cannot be read: {first_line(error)}") from error
    tokens.ensure_template(tokenizer)
    ends = tokens.end_ids(tokenizer, model, where=str(path))
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        raise UserError(f"{path}: the tokenizer has more tokens than the model. They do not belong together.")
    pad = tokens.pad_id(tokenizer, model, ends)
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    context = int(longest or min(tokenizer.model_max_length, 1 << 20))
    prefix = tokens.answer_prefix(tokenizer)
    return LanguageModel(model.to(torch.float32), tokenizer, ends, pad, context, read_notices(path), prefix)


def read_config(path: Path, *, trust_remote_code: bool) -> Any:
    """The model's configuration. Raises `UserError` where the directory holds none, or one that needs code of its own."""
    from transformers import AutoConfig

    if not (path / "config.json").is_file():
        hint = " Name a directory that `save_pretrained` of transformers has written."
        if (path / "adapter_config.json").exists():
            hint = " It holds LoRA adapters alone: merge them into their base model first (peft: merge_and_unload)."
        raise UserError(f"{path} is not a model: it has no config.json.{hint}")
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    except Exception as error:  # the libraries may raise anything on a damaged file
        if "trust_remote_code" in str(error):
            raise UserError(
                f"The model in {path} comes with code of its own. Read that code, then set `trust_remote_code: true`."
            ) from error
        raise UserError(f"{path / 'config.json'} cannot be read: {first_line(error)}") from error


def check_causal(path: Path, config: Any) -> None:
    """Raises `UserError` unless the saved model is a causal language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    names = list(config.architectures or [])
    remote = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    known = remote or config.model_type in CAUSAL
    kind = any(name.endswith(("CausalLM", "LMHeadModel", "ForConditionalGeneration")) for name in names) or not names
    if config.is_encoder_decoder or not (known and kind) or getattr(config, "is_decoder", None) is False:
        what = ", ".join(names) or config.model_type
        hint = " It is a reward model." if any(name.endswith("ForSequenceClassification") for name in names) else ""
        raise UserError(
            f"{path} holds a {what}, which is not a causal language model.{hint} Name a model that writes text from "
            "left to right (a ...ForCausalLM)."
        )


def read_model(path: Path, auto: str, *, trust_remote_code: bool = False) -> Any:
    """The model of a directory through one of transformers' auto classes (`auto`), in evaluation mode.

    Raises `UserError` where there are no safetensors, where a file is damaged, and where weights are missing.
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
    absent = sorted(map(str, report["missing_keys"])) + sorted(str(key[0]) for key in report["mismatched_keys"])
    if absent:
        raise UserError(f"{path} lacks weights that its config.json asks for, among them {', '.join(absent[:3])}.")
    for weight in model.parameters():  # out of the mapped file: a sum may depend on where its weights lie
        weight.data = weight.data.clone()
    return model.eval()


def check_safetensors(path: Path) -> None:
    """Raises `UserError` unless every weights file opens; where there are only pickles the message says what to do."""
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


def fetch_from_hub(spec: ModelSpec) -> Path:
    """The local directory of a model on the hub, from the cache where the hub does not answer.

    Raises `UserError` within ten seconds where the name is unknown, or where the hub does not answer and the cache lacks it.
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
        raise UserError(f"There is no directory {spec.name}, and it cannot be a name on the hub.") from error
    except Exception as error:  # the network, the file system or the hub may raise anything
        place = "is not in the local cache" if trouble else "cannot be fetched"
        raise UserError(
            f"There is no directory {spec.name!r}, and as a model on the hub it {place} ({trouble or first_line(error)}). "
            'Check the name; "tiny" and "smollm2" need no hub.'
        ) from error


def ask_hub(spec: ModelSpec) -> str:
    """Asks the hub for this model: '' where it answers, else why it does not. Raises `UserError` where it has no such model."""
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
