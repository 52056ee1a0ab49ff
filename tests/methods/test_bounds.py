"""Settings out of range are refused when they are read, not hours later; the ends of the ranges are allowed."""

from __future__ import annotations

from typing import Any

import pytest

from preflab.errors import UserError
from preflab.methods import METHODS

COUNTS = {
    "sft": ["epochs", "batch_size", "max_completion_tokens"],
    "dpo": ["epochs", "batch_size", "max_completion_tokens"],
    "dpo-iter": ["rounds", "epochs", "batch_size", "max_completion_tokens", "draw.samples"],
    "rm": ["epochs", "batch_size", "max_completion_tokens"],
    "cost": ["epochs", "batch_size", "max_completion_tokens"],
    "pairs": ["draw.samples"],
    "best-of-n": ["n"],
    "ppo": ["steps", "rollouts", "decoding.max_new_tokens"],
}
COUNTS_OR_ALL = {
    "sft": "examples",
    "dpo": "pairs",
    "dpo-iter": "prompts",
    "rm": "pairs",
    "cost": "pairs",
    "pairs": "prompts",
}
NUMBERS: dict[str, list[Any]] = {
    "beta": [0, -1, float("inf")],
    "optim.learning_rate": [-1e-6, float("nan"), float("inf")],
    "optim.beta1": [-0.1, 1.0],
    "optim.beta2": [-0.1, 1.0],
    "optim.eps": [0.0],
    "optim.weight_decay": [-0.1],
    "optim.clip_norm": [-1.0, float("nan")],
}
DECODING: dict[str, list[Any]] = {
    "temperature": [-1.0, float("nan"), float("inf")],
    "top_k": [-1],
    "top_p": [0.0, 1.1],
}


def parse(kind: str, field: str, value: Any) -> Any:
    """A method's spec with one dotted field set."""
    *parents, leaf = field.split(".")
    data: Any = {leaf: value}
    for parent in reversed(parents):
        data = {parent: data}
    return METHODS.parse({"kind": kind, **data})


def refused(kind: str, field: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"`{field}`"):
        parse(kind, field, value)


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, fields in COUNTS.items() for field in fields])
def test_counts_begin_at_one(kind: str, field: str) -> None:
    """Protects from a run that does nothing, or divides by nothing: 0 and less are refused, 1 is not."""
    refused(kind, field, 0)
    refused(kind, field, -1)
    parse(kind, field, 1)


@pytest.mark.parametrize(("kind", "field"), COUNTS_OR_ALL.items())
def test_zero_means_all_where_it_is_said(kind: str, field: str) -> None:
    """Protects from slices by a negative count, which would quietly drop the last rows."""
    refused(kind, field, -1)
    parse(kind, field, 0)


def test_numbers_out_of_range_are_refused() -> None:
    """Protects weights from a learning rate that is no number, Adam from betas outside [0,1), sampling from no token."""
    for field, values in NUMBERS.items():
        for value in values:
            refused("dpo", field, value)
    for field, values in DECODING.items():
        for value in values:
            refused("ppo", f"decoding.{field}", value)
    refused("ppo", "reward_scale", float("nan"))
    refused("pairs", "draw.right", float("nan"))


def test_clips_can_be_off() -> None:
    """Protects the way to switch the reward's clip off: None, not a number that stands for it."""
    refused("ppo", "reward_clip", 0.0)
    assert parse("ppo", "reward_clip", None).reward_clip is None
