"""Reads the bodies of an endpoint's answers, in the form of OpenAI's protocol. Does not import torch."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, model_validator

from preflab.evaluation.preference.replies import ModelReply
from preflab.plain import parse_json


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    """One reply. `message`: the reply of a chat completion. `text`: the reply of a plain completion."""

    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None

    @model_validator(mode="after")
    def _has_a_reply(self) -> Self:
        if self.message is None and self.text is None:
            raise ValueError("there is neither a message nor a text")
        return self

    @property
    def content(self) -> str:
        """The text of the reply; '' if the model wrote nothing."""
        return (self.text if self.message is None else self.message.content) or ""


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(BaseModel):
    """The fields of a chat completion or a plain completion that preflab reads."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    """The fields of a list of models that preflab reads."""

    data: list[_Model]


def read_model_names(text: str) -> list[str]:
    """Returns the names in an endpoint's list of its models. Raises `UserError` if the body is not JSON, and pydantic's
    `ValidationError` if it is not such a list."""
    return [model.id for model in _Models.model_validate(parse_json(text, "the list of models")).data]


def read_completion(text: str) -> ModelReply:
    """Returns the model's reply in the body of a chat completion or of a plain completion. Raises `UserError` if the
    body is not JSON, and pydantic's `ValidationError` if it is not a completion."""
    answer = _Answer.model_validate(parse_json(text, "the reply"))
    choice, usage = answer.choices[0], answer.usage or _Usage()
    cut = choice.finish_reason == "length"
    return ModelReply(choice.content, cut, usage.prompt_tokens, usage.completion_tokens)
