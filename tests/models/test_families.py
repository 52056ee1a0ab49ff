"""Fifty families of transformers, each as a small random model: what preflab computes with it is what transformers computes, or
preflab refuses it in a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tests.models.conftest import CHATML, chat_tokenizer
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as SCORING

from preflab.batch import collate
from preflab.errors import UserError
from preflab.models import forward, lora
from preflab.models.heads import load_reward_model, make_reward_model
from preflab.models.lm import LanguageModel
from preflab.models.load import load_directory
from preflab.models.reference import trainable
from preflab.models.spec import LoRA
from preflab.models.verify import save_verified
from preflab.sampling.base import Decoding
from preflab.sampling.native import Native
from preflab.spec import Context

SHAPE: dict[str, Any] = {
    "vocab_size": 272,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 3,
}
EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
DEEPSEEK = {
    "head_dim": None,
    "num_key_value_heads": 4,
    **EXPERTS,
    **LATENT,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
}
STATE = {"state_size": 8, "conv_kernel": 4, "expand": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 6},
    "mixtral": {"num_local_experts": 4},
    "qwen2": {},
    "qwen2_moe": {**EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 16},
    "qwen3": {},
    "qwen3_moe": {**EXPERTS, "num_experts": 4},
    "gemma": {},
    "gemma2": {"sliding_window": 6, "query_pre_attn_scalar": 8},
    "gemma3_text": {"sliding_window": 6, "query_pre_attn_scalar": 8},
    "phi": {},
    "phi3": {},
    "phimoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "gpt2": OLD,
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 6},
    "gpt_neox": {},
    "gptj": {**OLD, "rotary_dim": 8},
    "gpt_bigcode": OLD,
    "codegen": {**OLD, "rotary_dim": 8},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "bloom": {"n_layer": 2, "n_head": 4},
    "falcon": {"head_dim": None},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 256},
    "starcoder2": {"sliding_window": 6},
    "stablelm": {},
    "olmo": {},
    "olmo2": {},
    "olmo3": {"sliding_window": 6},
    "olmoe": {**EXPERTS, "num_experts": 4},
    "granite": {"logits_scaling": 2.0, "residual_multiplier": 0.5},
    "granitemoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "cohere": {"logit_scale": 0.5},
    "cohere2": {"sliding_window": 6},
    "deepseek_v2": {**DEEPSEEK, "topk_method": "greedy"},
    "deepseek_v3": DEEPSEEK,
    "glm": {},
    "glm4": {},
    "exaone4": {"sliding_window": 6, "sliding_window_pattern": 2},
    "smollm3": {"no_rope_layers": [1, 0]},
    "llama4_text": {"intermediate_size_mlp": 48, "num_local_experts": 2, "attention_chunk_size": 6},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 6},
    "jamba": {"num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8},
    "mamba": STATE,
    "mamba2": {**STATE, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 4},
    "falcon_mamba": STATE,
    "recurrent_gemma": {"lru_width": 32, "attention_window_size": 6, "num_hidden_layers": 3},
    "nemotron": {},
    "persimmon": {},
    "xglm": {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4},
    "biogpt": {},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "ernie4_5": {},
    "seed_oss": {},
    "helium": {},
    "arcee": {},
    "dots1": {**EXPERTS, "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1},
    "bert": {"is_decoder": False},
}
REFUSED = {"bert": "not a causal language model"}
PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [20, 24], [21, 22, 23]]
COMPLETIONS = [[40, 41, 2], [42, 43, 44, 45, 46, 47, 48, 2], [2]]


def save_family(kind: str, directory: Path) -> Path:
    """A random model whose matrices are large enough that mistakes show."""
    torch.manual_seed(0)
    shape = {name: value for name, value in {**SHAPE, **FAMILIES[kind]}.items() if value is not None}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **shape))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3.0)
    model.save_pretrained(directory)
    chat_tokenizer(CHATML).save_pretrained(directory)
    return directory


@torch.no_grad()
def logprobs(lm: LanguageModel) -> Tensor:
    return forward.token_logprobs(lm.model, collate(PROMPTS, COMPLETIONS)).logprobs


@torch.no_grad()
def plain_logprobs(model: Any, prompt: Sequence[int], completion: Sequence[int]) -> Tensor:
    """Of one row without padding, from the model's own forward pass."""
    ids = torch.tensor([[*prompt, *completion]])
    logs = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
    return logs.gather(1, torch.tensor(completion)[:, None])[:, 0]


def close(ours: Tensor, theirs: Tensor, atol: float = 1e-3) -> None:
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=1e-4)


def check_logprobs(lm: LanguageModel, plain: Any) -> None:
    rows = logprobs(lm)
    for row, prompt, completion in zip(rows, PROMPTS, COMPLETIONS, strict=True):
        close(row[: len(completion)], plain_logprobs(plain, prompt, completion))


def check_samples(lm: LanguageModel, plain: Any) -> None:
    """Greedy rows of a mixed batch are what transformers' `generate` makes of each row alone; drawn tokens have the
    log-probabilities of `forward`."""
    with Native().open(Context()) as sampler:
        greedy = sampler.sample(lm, PROMPTS, seeds=[0, 1, 2], decoding=Decoding(max_new_tokens=10, temperature=0))
        drawn = sampler.sample(lm, PROMPTS, seeds=[0, 1, 2], decoding=Decoding(max_new_tokens=10))
    plain.generation_config.eos_token_id, plain.generation_config.pad_token_id = list(lm.end_ids), lm.pad_id
    lengths = greedy.batch.completion_lengths.tolist()
    for prompt, ids, length in zip(PROMPTS, greedy.batch.completion_ids.tolist(), lengths, strict=True):
        alone = plain.generate(torch.tensor([prompt]), max_new_tokens=10, do_sample=False)[0, len(prompt) :].tolist()
        assert ids[:length] == alone
    with torch.no_grad():
        again = forward.token_logprobs(lm.model, drawn.batch).logprobs
    close(drawn.logprobs * drawn.batch.mask, again)


def check_reward_model(lm: LanguageModel, directory: Path) -> None:
    """A saved reward model opens with the same scores, also in plain transformers; a family without one is refused."""
    if lm.model.config.model_type not in SCORING:
        with pytest.raises(UserError, match=r"sequence classifier[^\n]*$"):
            make_reward_model(lm, seed=1)
        return
    scorer = make_reward_model(lm, seed=1)
    assert save_verified(scorer, directory) == ""
    batch = collate(PROMPTS, COMPLETIONS)
    with torch.no_grad():
        ours = forward.scores(load_reward_model(directory).model, batch)
        plain = AutoModelForSequenceClassification.from_pretrained(directory).eval()
        rows = [torch.tensor([p + c]) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)]
        theirs = torch.stack([plain(input_ids=row).logits[0, 0] for row in rows])
    assert float(ours.std()) > 0
    close(ours, theirs)


def check_adapters(lm: LanguageModel, source: Path, directory: Path) -> None:
    """Trained adapters are saved merged, and beside as peft reads them: both give the adapted model's log-probabilities."""
    adapted = lm.with_model(lora.attach(lm.model, LoRA(rank=2), seed=0))
    generator = torch.Generator().manual_seed(2)
    for weight in trainable(adapted.model).values():
        weight.data.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    trained = logprobs(adapted)
    assert save_verified(adapted, directory) == ""
    opened = load_directory(directory)
    close(logprobs(opened), trained)
    close(logprobs(load_directory(directory / lora.ADAPTER)), trained)
    base = AutoModelForCausalLM.from_pretrained(source)
    peft = PeftModel.from_pretrained(base, directory / lora.ADAPTER).eval()
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        mine, theirs = opened.model(input_ids=ids).logits, peft(input_ids=ids).logits
    rows = min(mine.shape[-1], theirs.shape[-1])  # preflab may have added a padding token
    close(mine[..., :rows], theirs[..., :rows], atol=1e-4 * max(1.0, float(theirs.abs().max())))


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(FAMILIES))
def test_family(kind: str, tmp_path: Path) -> None:
    """Protects every number on every family: log-probabilities in a padded batch, greedy and drawn samples, a reward model
    saved and opened, LoRA saved and opened in both forms."""
    source = save_family(kind, tmp_path / "model")
    if kind in REFUSED:
        with pytest.raises(UserError, match=REFUSED[kind]):
            load_directory(source)
        return
    lm, plain = load_directory(source), AutoModelForCausalLM.from_pretrained(source).eval()
    check_logprobs(lm, plain)
    check_samples(lm, plain)
    check_reward_model(lm, tmp_path / "scorer")
    check_adapters(lm, source, tmp_path / "adapted")
