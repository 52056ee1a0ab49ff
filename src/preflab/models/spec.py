"""Defines the settings of a model to load. This module does not import torch, so that a study can be planned without
torch."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import Field, model_validator

from preflab.paths import user_path
from preflab.spec import Spec

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")
"""Matches the name of a model on the hub: `owner/name` or `owner/name@revision`."""


class LoRA(Spec):
    """The settings of low-rank adapters (Hu et al. 2021), which are trained instead of all weights. When the model is
    saved, the adapters are merged into the weights.

    `targets`: the names of the modules that get an adapter. If `targets` is empty, every linear layer except the head
    gets an adapter. The adapters have no dropout: preflab trains models in evaluation mode, and so does ReaL, the
    library that Xu et al. 2024 use.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)
    targets: tuple[str, ...] = ()


class TinyShape(Spec):
    """The shape of the built-in model `tiny`, a Llama-like network with 0.1M to 1M parameters. `words`: the words that
    are one token each. Each integer from -99 to 99 is also one token."""

    width: int = Field(default=96, ge=8)
    inner: int = Field(default=128, ge=8)
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    context: int = Field(default=512, ge=8)
    words: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of 2 x heads (heads: {self.heads})")
        broken = [word for word in self.words if not word or any(letter.isspace() for letter in word)]
        if broken:
            raise ValueError(f"{broken[0]!r} cannot be a word: a word must not be empty or contain white space")
        return self


class ModelSpec(Spec):
    """The settings of a model to load. `name`: "tiny", "smollm2", a local directory, or the name of a model on the
    Hugging Face hub. A string can be given instead of these settings: the name, or `owner/name@revision` for a model on
    the hub.

    `revision`: a commit or tag of a model on the hub. `trust_remote_code`: whether preflab is allowed to run code that
    comes with the model. The record of the run includes this setting. `lora`: the settings of adapters, which are
    trained instead of all weights; None to train all weights. `tiny`: the shape of the model "tiny". It is ignored for
    any other model.
    """

    name: str = "tiny"
    revision: str | None = None
    trust_remote_code: bool = False
    lora: LoRA | None = None
    tiny: TinyShape = TinyShape()

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        name, at, revision = value.partition("@")
        if at and HUB_NAME.fullmatch(value) and not user_path(value).exists():
            return {"name": name, "revision": revision}
        return {"name": value}
