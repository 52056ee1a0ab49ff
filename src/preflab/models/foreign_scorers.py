"""Reads reward models and cost models in two checkpoint layouts that transformers does not know. The packages that
wrote these checkpoints are not needed.

OpenAssistant's `GPTNeoXRewardModel` is a GPT-NeoX with a linear layer `out_proj`. The layer `out_proj` reads the state
of the last token or the mean of all states. safe-rlhf's `LlamaForScore` (earlier `LlamaModelForScore`) is a Llama with
a linear layer `score_head` and a normaliser of scores. The layer `score_head` reads the state of the last token. This
module loads both layouts as sequence classifiers of transformers, whose heads compute the same scores as the original
models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from preflab.errors import UserError
from preflab.models import template, tokens
from preflab.models.facts import ScoreRole
from preflab.models.lm import LanguageModel
from preflab.models.load import join_tokenizer, read_model
from preflab.models.score_head import make_score_head
from preflab.plain import read_data

OASST_TEMPLATE = (
    "{% for m in messages %}"
    "{{ {'system': '<|system|>', 'user': '<|prompter|>', 'assistant': '<|assistant|>'}[m.role] + m.content + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
BEAVER_TEMPLATE = (
    "{{ (bos_token or '') + 'BEGINNING OF CONVERSATION: ' }}{% for m in messages %}"
    "{% if m.role == 'user' %}{{ 'USER: ' + m.content + ' ASSISTANT:' }}"
    "{% elif m.role == 'assistant' %}{{ m.content + eos_token }}"
    "{% else %}{{ raise_exception('The format of safe-rlhf has no system turn.') }}{% endif %}{% endfor %}"
)
EPSILON = 1e-8
"""The constant that safe-rlhf adds to the standard deviation of scores before it divides by this deviation."""


@dataclass(frozen=True)
class ScorerLayout:
    """A layout of checkpoints. `model_type`: the model type in transformers that has the same network below the head.
    `head`: the name of the linear layer that computes the score. `chat_template`: a chat template that writes dialogues
    in the format on which the models of this layout were trained."""

    model_type: str
    head: str
    chat_template: str


OASST = ScorerLayout("gpt_neox", "out_proj", OASST_TEMPLATE)
SAFE_RLHF = ScorerLayout("llama", "score_head", BEAVER_TEMPLATE)
ARCHITECTURES: Mapping[str, ScorerLayout] = {
    "GPTNeoXRewardModel": OASST,
    "LlamaForScore": SAFE_RLHF,
    "LlamaModelForScore": SAFE_RLHF,
}
"""Maps the name of an architecture in config.json to the layout of its checkpoints."""


def find_layout(path: Path) -> ScorerLayout | None:
    """Returns the layout of the checkpoint in a directory. Returns None if the checkpoint does not have one of the
    layouts in `ARCHITECTURES`, or if there is no checkpoint."""
    if not (path / "config.json").is_file():
        return None
    config = read_data(path / "config.json")
    names = config.get("architectures") if isinstance(config, dict) else None
    return next((ARCHITECTURES[name] for name in names or [] if name in ARCHITECTURES), None)


def load_foreign_scorer(path: Path, layout: ScorerLayout, *, date: str = "") -> LanguageModel:
    """Loads a reward model or a cost model in one of the layouts of this module, in fp32. As in the original model, the
    score is computed from the mean of the states of all tokens, or from the state of the last token. The last token of
    the dialogue is the end token after the answer.

    If the tokenizer has no chat template, the template of the layout is set. Raises `UserError` if the checkpoint is
    damaged, or if its model does not score whole answers.
    """
    settings = read_data(path / "config.json")
    if not any(path.glob("*.safetensors")):
        raise UserError(
            f"{path} has no safetensors files. preflab does not read pickles (*.bin), because they can run code. If you "
            "trust the pickles, convert them as described in `docs/rewards.md` under 'Models from elsewhere'."
        )
    model = read_model(
        path,
        "AutoModelForSequenceClassification",
        config=_plain_config(settings, layout),
        key_mapping={rf"^{layout.head}\.": "score."},
    )
    own = _read_tensors(path, (f"{layout.head}.weight", f"{layout.head}.bias", "normalizer.mean", "normalizer.var"))
    if layout is OASST:
        model.score, role = _oasst_head(path, settings, own), "reward"
    else:
        model.score, role = _safe_rlhf_head(path, settings, own), _role_of(path, settings)
    lm = join_tokenizer(path, model, chat=layout.chat_template, date=date)
    tokens.pad_on(lm.tokenizer, "right")
    closing = template.find_closing(lm.tokenizer, lm.form)  # the end token, even if it also serves as padding
    return replace(lm, form=replace(lm.form, closing=closing), role=role)


def _plain_config(settings: Mapping[str, Any], layout: ScorerLayout) -> Any:
    """Returns the configuration of a sequence classifier with one label. The network below the head has the given
    settings of the checkpoint."""
    from transformers import AutoConfig

    left_out = ("architectures", "model_type", "auto_map", "num_labels", "id2label", "label2id", "transformers_version")
    kept = {name: value for name, value in settings.items() if name not in left_out}
    return AutoConfig.for_model(layout.model_type, **kept, num_labels=1)


def _read_tensors(path: Path, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Returns the tensors with the given names in fp32. Names that are missing in the checkpoint are left out."""
    tensors: dict[str, Tensor] = {}
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            tensors |= {name: opened.get_tensor(name).float() for name in set(names) & set(opened.keys())}
    return tensors


def _oasst_head(path: Path, settings: Mapping[str, Any], own: Mapping[str, Tensor]) -> Any:
    """Returns a head with the weights of the linear layer `out_proj`. The head reads the state of the last token, or
    the mean of all states if the setting `pooling` is "mean"."""
    pooling = settings.get("pooling") or "last"
    if pooling not in ("last", "mean"):
        raise UserError(f'{path / "config.json"}: `pooling` is {pooling!r}. It must be "last" or "mean".')
    weight, bias = _head_tensors(path, own, "out_proj", biased=True)
    return make_score_head(weight, bias, pooled=pooling == "mean")


def _safe_rlhf_head(path: Path, settings: Mapping[str, Any], own: Mapping[str, Tensor]) -> Any:
    """Returns a head that combines the linear layer `score_head` and the normaliser. Let s be the output of the linear
    layer. A reward is (s - mean) / (std + epsilon). A cost is s / (std + epsilon), so it has the sign of s. Without the
    setting `do_normalize`, the score is s."""
    biased = settings.get("score_bias", settings.get("bias"))
    weight, bias = _head_tensors(path, own, "score_head", biased=biased is True)
    if settings.get("do_normalize", False):
        mean = own.get("normalizer.mean", torch.tensor(settings.get("mean") or [0.0]))
        var = own.get("normalizer.var", torch.tensor(settings.get("var") or [1.0]))
        std = var.flatten()[0].sqrt() + EPSILON
        shift = torch.zeros(1) if settings.get("score_type") == "cost" else mean.flatten()[:1]
        weight, bias = weight / std, (bias - shift) / std
    return make_score_head(weight, bias)


def _head_tensors(path: Path, own: Mapping[str, Tensor], head: str, *, biased: bool) -> tuple[Tensor, Tensor]:
    """Returns the weight [1,D] and the bias [1] of a head. The bias is 0 if the checkpoint contains no bias. `biased`:
    whether the head has a bias according to the configuration."""
    weight, bias = own.get(f"{head}.weight"), own.get(f"{head}.bias")
    if weight is None or (biased and bias is None):
        name = f"{head}.weight" if weight is None else f"{head}.bias"
        raise UserError(f"{path} lacks weights that its config.json requires, among them {name}.")
    if weight.shape[0] != 1:
        raise UserError(
            f"{path} computes {weight.shape[0]} scores for an answer. A reward model or a cost model computes 1 score."
        )
    return weight, torch.zeros(1) if bias is None else bias


def _role_of(path: Path, settings: Mapping[str, Any]) -> ScoreRole:
    kind = settings.get("score_type", "")
    if kind not in ("", "reward", "cost"):
        raise UserError(
            f"{path / 'config.json'}: `score_type` is {kind!r}, and such a score does not judge a whole answer. Use a model "
            "whose `score_type` is reward or cost."
        )
    return kind
