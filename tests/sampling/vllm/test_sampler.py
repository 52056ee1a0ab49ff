"""The sampler `vllm` before and behind its engine: settings, sampling parameters, ids, kept ids and written weights. A
stand-in takes vLLM's place; `test_live` uses vLLM itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig

from preflab.errors import UserError
from preflab.meter import Meter
from preflab.models import lora
from preflab.models.lm import LanguageModel
from preflab.models.spec import LoRA
from preflab.sampling import SAMPLERS
from preflab.sampling.base import Decoding
from preflab.sampling.vllm.engine import DrawnRow, DrawOrder
from preflab.sampling.vllm.sampler import Vllm, VllmSampler, engine_settings, sampling_params, visible_gpus
from preflab.spec import Context


class Recorded:
    """An engine that gives prepared rows, and keeps the orders and the weights that it read."""

    def __init__(self, rows: Sequence[DrawnRow]) -> None:
        self.rows = list(rows)
        self.orders: list[DrawOrder] = []
        self.weights: list[dict[str, torch.Tensor]] = []

    def draw(self, order: DrawOrder) -> list[DrawnRow]:
        self.orders.append(order)
        self.weights.append(load_file(order.model / "model.safetensors"))
        return self.rows

    def close(self) -> None:
        raise AssertionError("The sampler does not own the engine.")


@pytest.fixture
def lm() -> LanguageModel:
    """A small random model with tied embeddings: ids 0 to 60, end ids 7 and 9."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        max_position_embeddings=64, bos_token_id=None, eos_token_id=None, pad_token_id=None, tie_word_embeddings=True,
    )  # fmt: skip
    return LanguageModel(AutoModelForCausalLM.from_config(config).eval(), None, end_ids=(7, 9), pad_id=60, context=64)


def opened(rows: Sequence[DrawnRow], **settings: Any) -> tuple[VllmSampler, Recorded]:
    engine = Recorded(rows)
    return VllmSampler(Vllm(**settings), Meter(), engine), engine


TWO = (DrawnRow([4, 9], [-0.5, -1.0], [], 0), DrawnRow([5, 6, 8], [-0.1, -0.2, -0.3], [], 2))


def test_ids_lengths_and_truncation_come_back_in_order(lm: LanguageModel) -> None:
    """The first row drew an end id; the second did not, so it is truncated. Nothing passes through text: the model has
    no tokenizer. Charged: 3 + 3 prompt tokens less the 2 that the cache had, and 5 drawn ones."""
    sampler, engine = opened(TWO)
    samples = sampler.sample(lm, [[1, 2, 3], [1, 2, 3]], seeds=[8, 2**62], decoding=Decoding(max_new_tokens=3))
    assert samples.batch.completion_ids.tolist() == [[4, 9, 0], [5, 6, 8]]
    assert samples.batch.completion_lengths.tolist() == [2, 3] and samples.batch.truncated.tolist() == [False, True]
    torch.testing.assert_close(samples.logprobs, torch.tensor([[-0.5, -1.0, 0.0], [-0.1, -0.2, -0.3]]))
    assert engine.orders[0].prompts == [[1, 2, 3], [1, 2, 3]] and engine.orders[0].seeds == [8, 2**62]
    assert not samples.exact and samples.kept is None and not sampler.repeatable
    assert sampler.meter.counts["sampled_tokens"] == 5 and sampler.meter.counts["flops"] == 2 * lm.size * (4 + 5)


def test_kept_ids_are_padded_by_the_last(lm: LanguageModel) -> None:
    """The form that `forward.token_logprobs` reads: K is the largest count, and a shorter row repeats its last id."""
    rows = [DrawnRow([4, 9], [-0.5, -1.0], [[3, 4], [9]], 0), DrawnRow([5], [-0.1], [[2, 5, 6]], 0)]
    kept = opened(rows)[0].sample(lm, [[1], [1]], seeds=[0, 1], decoding=Decoding(max_new_tokens=2, top_k=3)).kept
    assert kept is not None
    assert kept.ids.tolist() == [[[3, 4, 4], [9, 9, 9]], [[2, 5, 6], [0, 0, 0]]]
    assert kept.counts.tolist() == [[2, 1], [3, 0]]


def test_every_draw_has_the_weights_of_its_moment(lm: LanguageModel) -> None:
    """An update between two draws reaches the engine, in the precision of the engine, and a tied tensor is written once."""
    sampler, engine = opened(TWO)
    for _ in range(2):
        sampler.sample(lm, [[1], [1]], seeds=[0, 1], decoding=Decoding(max_new_tokens=3))
        with torch.no_grad():
            lm.model.lm_head.weight.add_(1.0)
    before, after = (weights["model.embed_tokens.weight"] for weights in engine.weights)
    assert before.dtype == torch.bfloat16 and "lm_head.weight" not in engine.weights[0]
    torch.testing.assert_close(after.float(), before.float() + 1.0, rtol=0, atol=0.01)
    assert not Path(engine.orders[0].model).exists()  # the memory is free again
    assert lm.model.dtype == torch.float32


def test_adapters_are_merged_into_the_written_weights(lm: LanguageModel) -> None:
    """vLLM gets plain weights: W + B A alpha / rank, here with B = 1, A as drawn, and alpha = rank."""
    plain = lm.model.model.layers[0].mlp.up_proj.weight.detach().clone()
    adapted = lm.with_model(lora.attach(lm.model, LoRA(rank=2, alpha=2, targets=("up_proj",)), seed=0))
    layer = adapted.model.get_base_model().model.layers[0].mlp.up_proj
    with torch.no_grad():
        layer.lora_B["default"].weight.fill_(1.0)
    sampler, engine = opened(TWO, dtype="float32")
    sampler.sample(adapted, [[1], [1]], seeds=[0, 1], decoding=Decoding(max_new_tokens=3))
    added = layer.lora_A["default"].weight.sum(0).expand_as(plain)
    torch.testing.assert_close(engine.weights[0]["model.layers.0.mlp.up_proj.weight"], plain + added.detach())


@pytest.mark.parametrize(
    ("decoding", "expected"),
    [
        ({}, {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "logprobs": 0}),
        ({"temperature": 0}, {"temperature": 0, "top_k": 0, "top_p": 1.0, "logprobs": 0}),
        ({"temperature": 0, "top_k": 5, "top_p": 0.5}, {"top_k": 0, "top_p": 1.0, "logprobs": 0}),
        ({"temperature": 0.7, "top_k": 5}, {"temperature": 0.7, "top_k": 5, "logprobs": 21}),
        ({"top_k": 50, "top_p": 0.9}, {"top_k": 50, "top_p": 0.9, "logprobs": -1}),
        ({"top_k": 500}, {"top_k": 61, "logprobs": -1}),
        ({"top_p": 0.9}, {"top_p": 0.9, "logprobs": -1}),
    ],
)
def test_decoding_becomes_sampling_parameters(
    lm: LanguageModel, decoding: dict[str, Any], expected: dict[str, Any]
) -> None:
    """`logprobs` covers the kept ids: none for the whole vocabulary, k + 16 for top-k (ties), all 61 for top-p alone or
    when k + 16 exceeds 61 (50 + 16 = 66). Only preflab's end ids stop an answer."""
    params = sampling_params(lm, Decoding(max_new_tokens=12, **decoding))
    assert params.items() >= expected.items()
    assert params["max_tokens"] == 12 and params["stop_token_ids"] == [7, 9]
    assert params["ignore_eos"] and not params["detokenize"] and params["flat_logprobs"]


def test_settings_become_the_arguments_of_the_engine(lm: LanguageModel) -> None:
    """On a CPU, 1 GiB of keys and values. On GPUs of its own, vLLM does not sleep. It never reads the model's sampling
    defaults, and its log-probabilities are those after temperature, top-k and top-p."""
    plain = engine_settings(Vllm(), lm)
    assert plain["kv_cache_memory_bytes"] == 2**30 and "gpu_memory_utilization" not in plain
    assert plain["logprobs_mode"] == "processed_logprobs" and plain["generation_config"] == "vllm"
    assert plain["max_model_len"] == 64 and plain["dtype"] == "bfloat16" and not plain["enforce_eager"]
    own = engine_settings(Vllm(gpus=(1, 2), tensor_parallel=2, memory_share=0.8, max_model_length=32, eager=True), lm)
    assert own["gpu_memory_utilization"] == 0.8 and not own["enable_sleep_mode"] and "kv_cache_memory_bytes" not in own
    assert own["tensor_parallel_size"] == 2 and own["max_model_len"] == 32 and own["enforce_eager"]
    assert engine_settings(Vllm(gpus=(1,), cache_gib=0.5), lm)["kv_cache_memory_bytes"] == 2**29


def test_gpus_are_those_that_this_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Number 1 of the visible GPUs 4, 6 and 7 is GPU 6. Without `gpus`, vLLM shares the policy's own GPU."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus(Vllm(), torch.device("cpu")) == ""
    assert visible_gpus(Vllm(gpus=(1, 2)), torch.device("cuda:0")) == "1,2"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    assert visible_gpus(Vllm(gpus=(1,)), torch.device("cuda:0")) == "6"
    assert visible_gpus(Vllm(), torch.device("cuda:2")) == "7"
    assert visible_gpus(Vllm(tensor_parallel=2), torch.device("cuda:1")) == "6,7"
    with pytest.raises(UserError, match="needs GPU 3, but this process sees 3 GPUs"):
        visible_gpus(Vllm(gpus=(3,)), torch.device("cuda:0"))


def test_what_does_not_fit_is_refused_before_vllm_cuts_it(lm: LanguageModel) -> None:
    """vLLM would end an answer at its length limit as if the policy had."""
    sampler, engine = opened(TWO, max_model_length=16)
    with pytest.raises(UserError, match="can have 17 tokens, but `max_model_length` of the sampler `vllm` is 16"):
        sampler.sample(lm, [[1] * 12], seeds=[0], decoding=Decoding(max_new_tokens=5))
    assert not engine.orders


def test_log_probabilities_that_are_not_finite_are_refused(lm: LanguageModel) -> None:
    sampler, _ = opened([DrawnRow([4], [float("nan")], [], 0)])
    with pytest.raises(UserError, match=r"row 0 .* are not finite"):
        sampler.sample(lm, [[1]], seeds=[0], decoding=Decoding(max_new_tokens=1))


def test_the_name_and_the_settings_are_checked() -> None:
    """`sampler: vllm` is known, a wrong number of GPUs and an interpreter without vLLM are refused when it opens."""
    assert SAMPLERS.load("vllm") is Vllm
    with (
        pytest.raises(UserError, match="has 3 `gpus`, but `tensor_parallel` is 2"),
        Vllm(gpus=(0, 1, 2), tensor_parallel=2).open(Context()),
    ):
        pass
    with pytest.raises(UserError, match="Install vLLM into an environment of its own"), Vllm().open(Context()):
        pass
