"""What is saved is opened and compared with what was trained: where it differs, the work is kept and the run says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.batch import collate
from preflab.models import forward, lora
from preflab.models.heads import make_reward_model
from preflab.models.lm import LanguageModel
from preflab.models.load import load_directory, load_model
from preflab.models.reference import trainable
from preflab.models.spec import LoRA, ModelSpec
from preflab.models.verify import save_verified

ROWS = collate([[5, 6, 7], [8, 9]], [[10, 11], [12, 13]])


def trained(path: Path, *, rank: int | None = 2) -> LanguageModel:
    lm = load_model(ModelSpec(name=str(path), lora=None if rank is None else LoRA(rank=rank)), seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in trainable(lm.model).values():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return lm


@torch.no_grad()
def logprobs(lm: LanguageModel) -> torch.Tensor:
    return forward.token_logprobs(lm.model, ROWS).logprobs


def spoil_saving(saved: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Saving writes the weights from before training, as for a family that peft merges wrongly."""

    def save(model: Any, directory: Path) -> None:
        load_directory(saved["qwen2"]).model.save_pretrained(directory)

    monkeypatch.setattr(lora, "save_plain", save)


@pytest.mark.parametrize("rank", [None, 2])
def test_what_opens_as_it_was_says_nothing(family: Path, tmp_path: Path, rank: int | None) -> None:
    """Protects ordinary runs from a warning: policies and reward models, with adapters and without."""
    lm = trained(family, rank=rank)
    assert save_verified(lm, tmp_path / "policy") == ""
    assert (tmp_path / "policy" / lora.ADAPTER).is_dir() == (rank is not None)
    assert save_verified(make_reward_model(lm, seed=1), tmp_path / "scorer") == ""


def test_adapters_stand_in_for_merged_weights_that_differ(
    saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a run under LoRA whose merged weights compute something else: the adapters alone are kept, and the directory
    opens as what was trained."""
    lm = trained(saved["qwen2"])
    expected = logprobs(lm)
    spoil_saving(saved, monkeypatch)
    notice = save_verified(lm, tmp_path)
    assert notice.startswith("Merged weights would differ from the trained model (log-probabilities differ by")
    assert not (tmp_path / "config.json").exists() and not (tmp_path / lora.ADAPTER).exists()
    torch.testing.assert_close(logprobs(load_directory(tmp_path)), expected, atol=1e-5, rtol=1e-5)


def test_weights_that_do_not_open_are_named(
    saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a run whose weights cannot be opened again: it says so, and under LoRA keeps what can."""

    def save_part(model: Any, directory: Path) -> None:
        load_directory(saved["qwen2"]).model.save_pretrained(directory)
        (directory / "model.safetensors").write_bytes(b"")

    monkeypatch.setattr(lora, "save_plain", save_part)
    assert "it does not load" in save_verified(trained(saved["qwen2"], rank=None), tmp_path / "full")
    notice = save_verified(trained(saved["qwen2"]), tmp_path / "lora")
    assert "Only the adapters are saved" in notice
    assert load_directory(tmp_path / "lora").end_ids == (2, 0)


def test_adapters_that_cannot_open_lie_beside(
    saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the work where neither form opens as what was trained: both are kept, and the notice names the adapters."""
    lm = trained(saved["qwen2"])
    spoil_saving(saved, monkeypatch)
    monkeypatch.setattr(lora, "merge_saved", lambda model, directory: model)
    assert f"Use the adapters in `{lora.ADAPTER}`" in save_verified(lm, tmp_path)
    assert (tmp_path / "config.json").exists() and (tmp_path / lora.ADAPTER / "adapter_model.safetensors").exists()
