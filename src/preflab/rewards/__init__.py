"""The registry of rewards by name; a reward gives each completion a score, and a higher score is better."""

from __future__ import annotations

import os

from preflab.errors import UserError, nearest
from preflab.spec import Registry, Spec
from preflab.targets import load_object
from preflab.text import brief

_CLASSES = {
    "tests": "preflab.rewards.tests:Tests",
    "math": "preflab.rewards.math:FinalAnswer",
    "learned": "preflab.rewards.learned:Learned",
    "ensemble": "preflab.rewards.ensemble:Ensemble",
    "function": "preflab.rewards.function:Function",
    "command": "preflab.rewards.command:Command",
    "http": "preflab.rewards.http:Http",
}
REWARDS = Registry("reward", "preflab.rewards", _CLASSES, "preflab.rewards.base:RewardSpec")


def parse_reward(text: str) -> Spec:
    """Returns the reward spec that a text on the command line describes. The text may be a reward's name, the directory
    of a saved reward model, `command:PROGRAM ARGUMENTS`, `http://...`, or `module:name` for the user's own function or
    reward spec. Raises `UserError` for any other text."""
    if text in REWARDS.names():
        return REWARDS.parse(text)
    if text.startswith(("http://", "https://")):
        return REWARDS.parse({"kind": "http", "url": text})
    if text.startswith("command:"):
        return REWARDS.parse({"kind": "command", "command": text.removeprefix("command:").strip()})
    if os.path.isdir(os.path.expanduser(text)):
        return REWARDS.parse({"kind": "learned", "path": text})
    if ":" not in text:
        raise UserError(
            f"Unknown reward {brief(text)}.{nearest(text, REWARDS.names())} Or give `module:function`, `command:PROGRAM`, "
            "`http://...`, or the directory of a saved reward model."
        )
    target = load_object(text, "reward")
    own = isinstance(target, type) and issubclass(target, Spec)
    return REWARDS.parse(text if own else {"kind": "function", "target": text})
