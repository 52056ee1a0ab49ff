"""Makes reward models and critics: scalar heads on the backbone of a language model. A reward model scores sequences. A
critic computes a value for each token.

A reward model is a sequence classifier of transformers with one label. A saved reward model therefore gives the same
scores when transformers loads it without preflab. The weights of the critic's head start at zero. Every value therefore
starts at 0, for any scale of the backbone's states.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from preflab.errors import UserError
from preflab.models import forward, lora, template, tokens
from preflab.models.facts import TRAINED_ON, read_facts
from preflab.models.foreign_scorers import find_layout, load_foreign_scorer
from preflab.models.lm import LanguageModel
from preflab.models.load import (
    TOKENIZER_CONFIG,
    find_directory,
    holds_adapters_alone,
    join_tokenizer,
    load_adapters_base,
    merge_adapters,
    read_adapters_base,
    read_config,
    read_model,
    read_tokenizer,
)


def make_reward_model(lm: LanguageModel, *, seed: int) -> LanguageModel:
    """Makes a reward model from a language model. It is a sequence classifier with one label: a random head on a copy
    of the backbone of `lm`.

    The head has no bias, because only differences between scores matter. Its weights are drawn with `seed` from the
    normal distribution that transformers uses. The standard deviation is `initializer_range` in the configuration. If
    the model has LoRA adapters, these adapters are merged into the copy. The copy then gets new adapters of the same
    shape. Raises `UserError` if transformers has no suitable sequence classifier for the model family. A suitable
    classifier scores the state of a single token.
    """
    from transformers import AutoModelForSequenceClassification

    backbone = copy_backbone(lm.model)
    config = copy.deepcopy(lm.model.config)
    config.num_labels = 1
    config.eos_token_id = list(lm.end_ids)
    config.get_text_config().pad_token_id = config.pad_token_id = lm.pad_id
    try:
        with torch.device("meta"):
            classifier: Any = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise UserError(f"transformers has no sequence classifier for a {config.model_type} model.") from error
    if not hasattr(classifier, "score"):
        raise UserError(
            f"The sequence classifier of a {config.model_type} model does not score the last token's state."
        )
    setattr(classifier, classifier.base_model_prefix, backbone)
    classifier.name_or_path = lm.model.name_or_path  # adapters name their base model by this path
    classifier.score = empty_head(backbone, bias=False)
    drawn = torch.empty(classifier.score.weight.shape).normal_(generator=torch.Generator().manual_seed(seed))
    classifier.score.weight.data.copy_(drawn * getattr(config, "initializer_range", 0.02))
    tokenizer = copy.deepcopy(lm.tokenizer)
    tokens.pad_on(tokenizer, "right")
    settings = lora.settings_of(lm.model)
    model = classifier if settings is None else lora.attach(classifier, settings, seed=seed)
    return replace(lm, model=model.eval(), tokenizer=tokenizer, form=replace(lm.form, closing=lm.end_ids[:1]))


def load_reward_model(path: Path, *, date: str = "") -> LanguageModel:
    """Loads a saved reward model with `load_scorer`. Raises `UserError` if the directory contains a cost model, because
    a higher score of a cost model means a worse answer."""
    lm = load_scorer(path, date=date)
    if lm.role == "cost":
        raise UserError(
            f"{path} is a cost model, and its higher scores are worse. Set it as the cost, or give a reward model instead."
        )
    return lm


def load_scorer(path: Path, *, date: str = "") -> LanguageModel:
    """Loads a saved reward model or cost model. If the directory contains only adapters, loads their base model and
    merges the adapters into it. A model that preflab trained computes its score at the end-of-turn token. Any other
    sequence classifier with one label computes its score at the last token of the whole rendered dialogue. Padding
    tokens at the end of the dialogue do not count (see `_find_padding`). `models.foreign_scorers` reads the layouts
    that transformers does not know. `date`: see `load.load_directory`.

    Raises `UserError` if the directory does not contain a reward model or cost model, or if a file is damaged.
    """
    foreign = find_layout(path)
    if foreign is not None:
        return load_foreign_scorer(path, foreign, date=date)
    lm = _load_adapted(path, date) if holds_adapters_alone(path) else _load_whole(path, date)
    if lm.form.closing is not None:
        return lm
    trained_here = (path / TRAINED_ON).exists()  # earlier versions of preflab did not save the closing ids
    closing = lm.end_ids[:1] if trained_here else _find_scored_closing(path, lm)
    return replace(lm, form=replace(lm.form, closing=closing))


def _find_scored_closing(path: Path, lm: LanguageModel) -> tuple[int, ...]:
    """Returns the ids from the end of an answer up to and including the scored token. transformers computes the score
    at the last token of the dialogue that is not the padding token. If the template ends answers with the padding
    token, the scored token therefore precedes the padding token."""
    closing = template.find_closing(lm.tokenizer, lm.form)
    pad = _find_padding(path)
    while closing and closing[-1] == pad:
        closing = closing[:-1]
    return closing


def _find_padding(path: Path) -> int | None:
    """Returns the id of the padding token with which a saved reward model was trained. For a whole model, this id is in
    its config.json. Adapters have no config.json. They use the padding token of the tokenizer that was saved with the
    adapters. If no tokenizer was saved with the adapters, they use the padding token of the base model."""
    if not holds_adapters_alone(path):
        return read_config(path, trust_remote_code=False).get_text_config().pad_token_id
    if (path / TOKENIZER_CONFIG).is_file():
        own = read_tokenizer(path, trust_remote_code=False).pad_token_id
        if own is not None:
            return own
    base = read_adapters_base(path)
    return None if base.name == "tiny" else _find_padding(find_directory(base))


def _load_adapted(path: Path, date: str) -> LanguageModel:
    """Loads adapters and merges them into their base model. The `closing` of the result is the value that was saved
    with the adapters, or None."""
    base = load_adapters_base(path, scoring=True, date=date)
    lm = merge_adapters(path, make_reward_model(base, seed=0), side="right", date=date)
    facts = read_facts(path)
    return replace(lm, form=replace(lm.form, closing=facts.closing), role=facts.role)


def _load_whole(path: Path, date: str) -> LanguageModel:
    config = read_config(path, trust_remote_code=False)
    if not any(name.endswith("ForSequenceClassification") for name in config.architectures or []):
        what = ", ".join(config.architectures or [config.model_type])
        raise UserError(f"The model in {path} is a {what}, not a reward model (a ...ForSequenceClassification).")
    model = read_model(path, "AutoModelForSequenceClassification")
    if model.config.num_labels != 1 or not hasattr(model, "score"):
        raise UserError(
            f"{path} is a classifier with {model.config.num_labels} labels. A reward model has 1 label and a head `score`."
        )
    lm = join_tokenizer(path, model, date=date)
    tokens.pad_on(lm.tokenizer, "right")
    return lm


class Critic(nn.Module):
    """A value network. `head` is a linear layer with a bias, which reads the states of `backbone`. `forward.values`
    computes the values."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = empty_head(backbone, bias=True).float()  # fp32, which `forward.values` needs
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)


def make_critic(lm: LanguageModel, *, seed: int) -> Critic:
    """Makes a critic: a scalar head on a copy of the backbone of `lm`, which is a policy or a reward model. Every value
    starts at exactly 0.

    If the model has LoRA adapters, these adapters are merged into the copy. The copy then gets new adapters of the same
    shape, which are drawn with `seed`.
    """
    backbone = copy_backbone(lm.model)
    settings = lora.settings_of(lm.model)
    return Critic(backbone if settings is None else lora.attach(backbone, settings, seed=seed)).eval()


def empty_head(backbone: Any, *, bias: bool) -> nn.Linear:
    """Makes a linear layer that maps each state of the backbone to one number. Its weights are not initialised, because
    drawing them would change the global random state."""
    like = backbone.get_input_embeddings().weight
    width = backbone.config.get_text_config().hidden_size
    empty: Any = nn.utils.skip_init(nn.Linear, width, 1, bias=bias, device=like.device, dtype=like.dtype)
    return empty


def copy_backbone(model: Any) -> Any:
    """Returns a trainable copy of the network below the head of a model. If the model has adapters, they are merged
    into the weights of the copy."""
    if lora.is_adapted(model):
        return forward.backbone(lora.merge(copy.deepcopy(model))).requires_grad_(True)
    return copy.deepcopy(forward.backbone(model))
