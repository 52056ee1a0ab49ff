"""The settings of the model to load; this module does not import torch, since a study's plan imports this module."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import Field, model_validator

from preflab.paths import user_path
from preflab.spec import Spec

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")
"""Matches the name of a model on the hub, as `owner/name` or `owner/name@revision`."""


class LoRA(Spec):
    """Low-rank adapters (Hu et al. 2021) instead of full fine-tuning; saving merges the adapters into the weights.

    `targets`: the names of the modules that get an adapter; if empty, every linear layer except the head gets one. The
    adapters have no dropout, since models train in evaluation mode, as in the paper's library.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)
    targets: tuple[str, ...] = ()


class TinyShape(Spec):
    """The shape of the built-in model `tiny`, a Llama-like network with 0.1M to 1M parameters. Each word in `words` and
    each integer from -99 to 99 is one token."""

    width: int = Field(default=96, ge=8)
    inner: int = Field(default=128, ge=8)
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    context: int = Field(default=512, ge=8)
    words: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be an even multiple of heads {self.heads}")
        broken = [word for word in self.words if not word or any(letter.isspace() for letter in word)]
        if broken:
            raise ValueError(f"{broken[0]!r} cannot be a word: a word must not be empty or contain white space")
        return self


class ModelSpec(Spec):
    """`name`: "tiny", "smollm2", a local directory, or a name on the Hugging Face hub. Instead of the settings, a
    string may be given: the name, or `owner/name@revision` of a model on the hub.

    `revision`: a commit or tag of a model on the hub. `trust_remote_code`: if true, code that comes with the model may
    run; the record of the run includes this setting. `lora`: if set, adapters are trained instead of all weights.
    `tiny`: the shape of the model "tiny"; ignored for any other name.
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
