"""The model to load, as plain data. No torch: the plan of a study reads it."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from preflab.spec import Spec


class LoRA(Spec):
    """Low-rank adapters (Hu et al. 2021) instead of full fine-tuning; saving merges the adapters into the weights.

    `targets`: the names of the modules that get an adapter; if empty, every linear layer except the head gets one. There is
    no dropout: models train in evaluation mode, as in the paper's library.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)
    targets: tuple[str, ...] = ()


class TinyShape(Spec):
    """The shape of the embedded Llama-like model, which has 0.1M to 1M parameters. Each of `words` is one token, and so is
    each integer in -99..99."""

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
            raise ValueError(f"{broken[0]!r} cannot be a word: a word is not empty and holds no white space")
        return self


class ModelSpec(Spec):
    """`name`: "tiny" | "smollm2" | a local directory | a name on the Hugging Face hub. A bare string is read as the name.

    `revision` (hub only) pins a commit or tag. `trust_remote_code` allows code that comes with the model to run: it is off
    by default, and the record of the run holds this setting. `lora` trains adapters instead of all weights. `tiny` is read
    only if the name is "tiny".
    """

    name: str = "tiny"
    revision: str | None = None
    trust_remote_code: bool = False
    lora: LoRA | None = None
    tiny: TinyShape = TinyShape()

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value
