"""Every option of every method is read while the method trains: who sets an option that nothing looks at is misled.

Each method trains on the toy task, with the switches on that other options depend on, while every read of a spec's field is
noted; the specs that a method holds (optimizer, decoding, draw) are watched like its own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.methods.toy import SHAPE, Judged, Scored, opened, untrained
from tests.methods.watching import watched

from preflab.methods import METHODS
from preflab.methods.base import Method
from preflab.models.heads import make_reward_model
from preflab.models.tiny import make_tiny
from preflab.spec import Spec
from preflab.types import Preference, Split

DECODING = {"max_new_tokens": 3}
LOOP = {"steps": 2, "rollouts": 4, "mini_batches": 1, "decoding": DECODING}
TWICE = {"epochs": 2}  # the schedule begins with the second update
DRAW = {"samples": 4, "right": 8.0, "decoding": DECODING}
SWITCHED_ON: dict[str, dict[str, Any]] = {
    "sft": TWICE,
    "pairs": {"draw": DRAW},
    "rankings": {"decoding": DECODING},
    "rm": {"margin": 1.0, "soft_labels": True, "length_debias": True, "member": 1, **TWICE},
    "cost": TWICE,
    "warm": {"models": ["0", "1"]},
    "dpo": {**TWICE, "sft_coefficient": 0.1},
    "dpo-iter": {"rounds": 2, "draw": DRAW},
    "online-dpo": {"steps": 2, "prompts": 4, "draw": DRAW},
    "kto": {"batch_size": 4},
    "rrhf": TWICE,
    "pro": TWICE,
    "best-of-n": {},
    "ppo": {**LOOP, "kl_target": 0.1},
    "ppo-lag": LOOP,
    "grpo": {**LOOP, "group": 2, "dynamic_sampling": True, "overlong_window": 2},
    "rloo": {**LOOP, "group": 2},
    "reinforce++": {**LOOP, "group": 2, "group_baseline": True},
    "remax": LOOP,
    "raft": {**LOOP, "group": 2},
    "expert-iteration": {"rounds": 1, "samples": 4, "right": 8.0, "batch_size": 4, "decoding": DECODING},
}


class Stated(Judged):
    """The toy's pairs, each with a margin, the labeller's doubt and safety labels."""

    def preferences(self, split: Split) -> list[Preference]:
        return [replace(pair, margin=2.0, probability=0.75) for pair in super().preferences(split)]


def unread(method: Method, fields: dict[type[Spec], set[str]]) -> set[str]:
    """The fields of the method and of the specs that it holds that nothing has read."""
    own = {name: getattr(method, name) for name in type(method).model_fields}
    held = [value for value in own.values() if isinstance(value, Spec)]
    specs = [method, *held, *(value for spec in held for _, value in spec if isinstance(value, Spec))]
    return {f"{type(spec).__name__}.{name}" for spec in specs for name in type(spec).model_fields} - {
        f"{cls.__name__}.{name}" for cls, names in fields.items() for name in (*names, "kind")
    }


@pytest.mark.parametrize("kind", SWITCHED_ON)
def test_every_option_is_read_in_training(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the method, of its optimizer, of its decoding and of its draw."""
    method = METHODS.parse({"kind": kind, **SWITCHED_ON[kind]})
    for name in SWITCHED_ON["warm"]["models"] if kind == "warm" else ():
        make_reward_model(make_tiny(SHAPE, seed=0), seed=0).save(tmp_path / name)
    scored = Scored(lambda text: float(len(text)))
    changes = {"reward": scored, "cost": scored, "testbed": Stated()}
    with (
        opened(tmp_path / "run", untrained(), located=lambda name: tmp_path / name, **changes) as parts,
        watched(monkeypatch) as fields,
    ):
        method.train(parts)
        method.inference()
    assert unread(method, fields) == set()


def test_every_method_is_watched() -> None:
    """A method without an entry would go unwatched."""
    assert set(SWITCHED_ON) == set(METHODS.known)


class Idle(Method):
    """A method with an option that it does not look at."""

    kind: str = "idle"
    used: int = 1
    unused: int = 1

    def train(self, parts: Any) -> Any:
        return self.used

    def cost(self, size: Any) -> Any:
        return self.unused


def test_an_option_that_nobody_reads_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself: `unused` is read by the plan, which does not train."""
    method = Idle()
    with watched(monkeypatch) as fields:
        method.train(None)
    assert unread(method, fields) == {"Idle.unused"}
