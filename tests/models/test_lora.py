"""Adapters: fresh ones change nothing, merging changes nothing, and what is saved is plain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.test_families import check_adapters, save_family
from torch import Tensor

from preflab.batch import collate
from preflab.errors import UserError
from preflab.models import forward, lora
from preflab.models.lm import LanguageModel
from preflab.models.load import load_directory, load_model
from preflab.models.reference import Reference, trainable
from preflab.models.spec import LoRA, ModelSpec

BATCH = collate([[5, 6, 7], [8, 9]], [[10, 11], [12, 13]])
SETTINGS = LoRA(rank=4, alpha=6.0)


def logprobs(lm: LanguageModel) -> Tensor:
    with torch.no_grad():
        return forward.token_logprobs(lm.model, BATCH).logprobs


def adapted(path: Path, *, trained: bool, seed: int = 0) -> LanguageModel:
    lm = load_model(ModelSpec(name=str(path), lora=SETTINGS), seed=seed)
    if trained:
        generator = torch.Generator().manual_seed(1)
        for parameter in trainable(lm.model).values():
            parameter.data.normal_(std=0.2, generator=generator)
    return lm


def test_fresh_adapters_change_nothing(family: Path) -> None:
    """Protects DPO's ln 2 and PPO's KL 0 at step 0: B = 0, so that the adapted model *is* the model below it."""
    lm = adapted(family, trained=False)
    torch.testing.assert_close(logprobs(lm), logprobs(load_directory(family)), rtol=0, atol=0)
    names = list(trainable(lm.model))
    assert names
    assert all(".lora_" in name for name in names)
    assert not any("lm_head" in name for name in names)


def test_seed_decides_and_global_state_stays(saved: dict[str, Path]) -> None:
    """Protects reproducibility: adapters are drawn from the seed, and no global random state is read or moved."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (trainable(adapted(saved["llama"], trained=False, seed=seed).model) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_saved_policy_is_merged_and_training_goes_on(family: Path, tmp_path: Path) -> None:
    """Protects the final model: plain weights that compute the same, written without touching the model in training."""
    lm = adapted(family, trained=True)
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    lm.save(tmp_path)
    assert all(torch.equal(before[name], tensor) for name, tensor in lm.model.state_dict().items())
    assert not list(tmp_path.glob("adapter_*"))
    plain = load_directory(tmp_path)
    assert not lora.is_adapted(plain.model)
    torch.testing.assert_close(logprobs(plain), logprobs(lm), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(logprobs(plain), logprobs(load_directory(family)), atol=1e-3)


def test_merge_equals_saving(family: Path, tmp_path: Path) -> None:
    """Protects the two ways to merge from drifting apart, and that a merged model is trained in full."""
    lm = adapted(family, trained=True)
    lm.save(tmp_path)
    merged = lora.merge(lm.model)
    for name, parameter in load_directory(tmp_path).model.named_parameters():
        torch.testing.assert_close(merged.get_parameter(name), parameter, atol=1e-6, rtol=1e-5)
    assert len(trainable(merged)) == len(list(merged.parameters()))


def test_reference_is_the_sft_model(saved: dict[str, Path], tmp_path: Path) -> None:
    """Protects from the pretrained model as reference: SFT under LoRA is saved merged; new adapters on it, and the
    reference taken at step 0 stays the SFT model while the policy moves."""
    sft = adapted(saved["qwen2"], trained=True)
    sft.save(tmp_path)
    policy = adapted(tmp_path, trained=False, seed=5)
    reference = Reference(policy.model)
    for parameter in trainable(policy.model).values():
        parameter.data.add_(0.1)
    with reference.active():
        torch.testing.assert_close(logprobs(policy), logprobs(sft), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(logprobs(policy), logprobs(sft), atol=1e-3)


def test_settings_are_read(saved: dict[str, Path]) -> None:
    """Protects each of LoRA's fields: rank is the adapters' width, alpha/rank their scale, targets where they are."""
    lm = load_model(ModelSpec(name=str(saved["llama"]), lora=LoRA(rank=3, alpha=6, targets=("q_proj",))), seed=0)
    adapters = {name: tensor for name, tensor in trainable(lm.model).items() if "lora_A" in name}
    assert len(adapters) == 2  # one a layer
    assert all("q_proj" in name and tensor.shape[0] == 3 for name, tensor in adapters.items())
    assert lm.model.get_base_model().model.layers[0].self_attn.q_proj.scaling["default"] == 2.0
    assert lora.settings_of(lm.model) == LoRA(rank=3, alpha=6, targets=("q_proj",))
    assert lora.settings_of(lm.model.get_base_model()) is None


def test_unknown_target_is_refused(saved: dict[str, Path]) -> None:
    """Protects from adapters that are nowhere."""
    with pytest.raises(UserError, match="does not fit"):
        load_model(ModelSpec(name=str(saved["llama"]), lora=LoRA(targets=("no_such",))), seed=0)


def test_a_rank_above_every_width_is_refused(saved: dict[str, Path]) -> None:
    """Protects from adapters that are many times larger than the model: the message names the largest rank."""
    for family in ("llama", "gpt2"):
        model = load_directory(saved[family]).model
        with pytest.raises(UserError, match=r"rank 100000 .* a width of (\d+)\. Set a rank of \1 or less") as refusal:
            lora.attach(model, LoRA(rank=100_000), seed=0)
        widest = int(str(refusal.value).split()[-3])
        adapted = trainable(lora.attach(model, LoRA(rank=widest), seed=0))
        assert widest == max(n for tensor in adapted.values() for n in tensor.shape)
    with pytest.raises(UserError, match="a width of 32"):
        lora.attach(load_directory(saved["llama"]).model, LoRA(rank=33, targets=("q_proj",)), seed=0)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral", "qwen3_moe", "jamba", "phimoe", "mamba"])
def test_what_was_trained_is_what_is_saved(kind: str, tmp_path: Path) -> None:
    """Protects a run's work, on mixtures of experts and beside state-space layers too: the merged weights, the adapters that
    preflab opens, and those that `PeftModel.from_pretrained` opens give the log-probabilities of the trained model."""
    source = save_family(kind, tmp_path / "model")
    check_adapters(load_directory(source), source, tmp_path / "saved")


def test_layers_that_are_not_called_get_no_adapter(tmp_path: Path) -> None:
    """Protects from adapters that train nothing and change what is merged: Jamba reads the weights of `dt_proj` itself, and
    PhiMoE's router returns a choice of experts. Asked for by name they are refused."""
    for kind, layer in (("jamba", "dt_proj"), ("phimoe", "router")):
        lm = load_directory(save_family(kind, tmp_path / kind))
        with pytest.raises(UserError, match=f"{layer}.*does not use this layer as a linear layer"):
            lora.attach(lm.model, LoRA(targets=(layer,)), seed=0)
        names = trainable(lora.attach(lm.model, LoRA(rank=2), seed=0))
        assert names and not any(f".{layer}." in name for name in names)


def test_adapters_open_with_their_base_model(saved: dict[str, Path], tmp_path: Path) -> None:
    """Protects `--init ADAPTERS`: preflab's own, and those of another program without a tokenizer beside them; more training
    on them goes on from there. The base model's name is in their file."""
    lm = adapted(saved["qwen2"], trained=True)
    lm.save(tmp_path / "final")
    adapters = tmp_path / "final" / lora.ADAPTER
    config = json.loads((adapters / "adapter_config.json").read_text())
    assert (config["task_type"], config["base_model_name_or_path"]) == ("CAUSAL_LM", str(saved["qwen2"].absolute()))
    opened = load_directory(adapters)
    assert not lora.is_adapted(opened.model) and (opened.end_ids, opened.form) == (lm.end_ids, lm.form)
    torch.testing.assert_close(logprobs(opened), logprobs(lm), atol=1e-5, rtol=1e-5)
    for file in adapters.iterdir():
        if not file.name.startswith("adapter_"):
            file.unlink()
    torch.testing.assert_close(logprobs(load_directory(adapters)), logprobs(lm), atol=1e-5, rtol=1e-5)
    again = load_model(ModelSpec(name=str(adapters), lora=SETTINGS), seed=1)
    torch.testing.assert_close(logprobs(again), logprobs(lm), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"base_model_name_or_path": None}, "names no base model"),
        ({"base_model_name_or_path": "/no/such/model"}, "no directory '/no/such/model'"),
        ({"base_model_name_or_path": 3}, "names no base model"),
        ({"target_modules": ["no_such"]}, "do not fit"),
        ({"r": 7}, "do not fit"),
        ({"peft_type": "NO_SUCH"}, "do not fit"),
    ],
)
def test_adapters_that_do_not_fit(
    changes: dict[str, object], says: str, saved: dict[str, Path], tmp_path: Path
) -> None:
    """Protects the user from a traceback of peft's, and from a base model without its adapters."""
    adapted(saved["qwen2"], trained=True).save(tmp_path)
    file = tmp_path / lora.ADAPTER / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(UserError, match=says) as refusal:
        load_directory(file.parent)
    assert "\n" not in str(refusal.value)


def test_adapters_of_another_model(saved: dict[str, Path], tmp_path: Path) -> None:
    """Protects from adapters of which none meets a layer of the base model: peft itself only warns."""
    adapted(saved["qwen2"], trained=True).save(tmp_path)
    weights = tmp_path / lora.ADAPTER / "adapter_model.safetensors"
    save_file({name.replace("q_proj", "other"): tensor for name, tensor in load_file(weights).items()}, weights)
    with pytest.raises(UserError, match="do not fit"):
        load_directory(weights.parent)


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "qwen2_moe", "granitemoe", "gpt_oss", "jamba"])
def test_experts_merge_in_memory(kind: str, tmp_path: Path) -> None:
    """Protects a reward model that starts from adapted experts, and whatever else merges without saving: the merged model is
    plain, and gives the log-probabilities of the adapted one, which differ from the base model's."""
    base = load_directory(save_family(kind, tmp_path / "model"))
    before = logprobs(base)
    lm = base.with_model(lora.attach(base.model, LoRA(rank=2), seed=0))
    generator = torch.Generator().manual_seed(2)
    for weight in trainable(lm.model).values():
        weight.data.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    trained = logprobs(lm)
    merged = base.with_model(lora.merge(lm.model))
    assert not lora.is_adapted(merged.model)
    torch.testing.assert_close(logprobs(merged), trained, atol=1e-3, rtol=1e-4)
    assert not torch.allclose(trained, before, atol=1e-2)
