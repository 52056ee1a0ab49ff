"""Defines the registry of rewards and the registry of costs. A reward or a cost gives each completion a score. A higher
reward is better, and a higher cost is worse. A cost above 0 means unsafe."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

from preflab.errors import UserError, nearest
from preflab.models.spec import HUB_NAME
from preflab.spec import Registry, Spec
from preflab.targets import load_object
from preflab.text import brief

if TYPE_CHECKING:
    from preflab.rewards.base import RewardSpec

_CLASSES = {
    "tests": "preflab.rewards.tests:Tests",
    "math": "preflab.rewards.math:FinalAnswer",
    "learned": "preflab.rewards.learned:Learned",
    "ensemble": "preflab.rewards.ensemble:Ensemble",
    "function": "preflab.rewards.function:Function",
    "command": "preflab.rewards.command:Command",
    "http": "preflab.rewards.http:Http",
}
REWARDS: Registry[RewardSpec] = Registry("reward", "preflab.rewards", _CLASSES, "preflab.rewards.base:RewardSpec")
COSTS: Registry[RewardSpec] = Registry(
    "cost",
    "preflab.costs",
    {
        "learned": "preflab.rewards.learned_cost:LearnedCost",
        **{kind: _CLASSES[kind] for kind in ("function", "command", "http")},
    },
    "preflab.rewards.base:RewardSpec",
)


def parse_reward(text: str) -> Spec:
    """Returns the reward spec that a text on the command line describes; see `_parse_words`."""
    return _parse_words(text, REWARDS)


def parse_cost(text: str) -> Spec:
    """Returns the spec of the cost that a text on the command line describes; see `_parse_words`."""
    return _parse_words(text, COSTS)


def _parse_words(text: str, registry: Registry[Any]) -> Spec:
    """Returns the spec that a text on the command line describes. The text may be the name of a reward or cost, the
    directory of a saved model, `command:PROGRAM ARGUMENTS`, `http://...`, or `module:name` for the user's own function
    or spec. Raises `UserError` for any other text."""
    if text in registry.names():
        return registry.parse(text)
    if text.startswith(("http://", "https://")):
        return registry.parse({"kind": "http", "url": text})
    if text.startswith("command:"):
        return registry.parse({"kind": "command", "command": text.removeprefix("command:").strip()})
    if os.path.isdir(os.path.expanduser(text)) or HUB_NAME.fullmatch(text):
        return registry.parse({"kind": "learned", "path": text})
    if ":" not in text:
        raise UserError(
            f"Unknown {registry.noun} {brief(text)}.{nearest(text, registry.names())} Or give `module:function`, "
            f"`command:PROGRAM`, `http://...`, or a saved {registry.noun} model: its directory, or its name on the hub."
        )
    target = load_object(text, registry.noun)
    own = isinstance(target, type) and issubclass(target, Spec)
    return registry.parse(text if own else {"kind": "function", "target": text})


def parse_scorer(value: Any, registry: Registry[Any]) -> Spec:
    """Returns the spec of a reward or a cost from the value of a field in a file. A text that is not a name in the
    registry is read as the path of a saved model. Raises `UserError` if the value does not describe a spec of the
    registry."""
    learned = isinstance(value, str) and value not in registry.names()
    return registry.parse({"kind": "learned", "path": value} if learned else value)


OptionalCostSpec = Annotated[
    Any,
    BeforeValidator(lambda value: None if value is None else parse_scorer(value, COSTS)),
    PlainSerializer(lambda spec: None if spec is None else COSTS.dump(spec)),
    Field(validate_default=True),
]
"""The type of a field that holds the spec of a cost, or None."""
