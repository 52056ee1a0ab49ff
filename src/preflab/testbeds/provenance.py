"""What a model was trained on, recorded so that an evaluator which saw the same data can be refused.

The unit is the *first human turn*: dialogues that begin alike share their subject, and often their prompts. Its key is the
SHA-256 of the turn without regard to case and spacing. A key has a place in [0, 1) for each salt: the parts of the data are
intervals of one place, validation is an interval of another, so that a dialogue's part depends on its first turn alone.

A provenance keeps the number of keys, a digest of all of them, and a sketch: the `SKETCH_SIZE` smallest under another salt. Two
sets that share a key below the ends of both sketches show it. Small sets are compared exactly; for two large sets that
share the fraction f of the smaller, the overlap is missed with probability (1 - f)^SKETCH_SIZE: 3e-5 at one percent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from preflab.errors import UserError
from preflab.types import Prompt, Split

SKETCH_SIZE = 1024
_HEX_DIGITS = 16  # of a sketched key: enough that no two different keys agree


def make_turn_key(prompt: Prompt) -> str:
    """The key of a dialogue: its first human turn, without regard to case and spacing."""
    turns = [turn for turn in prompt.turns if turn.role == "user"] or list(prompt.turns)
    return hashlib.sha256(" ".join(turns[0].content.casefold().split()).encode()).hexdigest()


def place_key(key: str, salt: str) -> float:
    """The place of a key in [0, 1): uniform over keys, independent between salts, the same on every machine."""
    return int(hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()[:13], 16) / 16**13


def place_split(key: str, validation: float, test: float) -> Split:
    """The split that a key falls into by the shares of validation and test."""
    place = place_key(key, "part")
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"


def describe_provenance(testbed: str, part: str, keys: Iterable[str], **identity: Any) -> dict[str, Any]:
    """The provenance of a model trained (or chosen) on the dialogues behind `keys`; plain JSON of 20 kB at most."""
    unique = sorted(set(keys))
    sketch = sorted(hashlib.sha256(f"sketch:{key}".encode()).hexdigest()[:_HEX_DIGITS] for key in unique)
    digest = hashlib.sha256("\n".join(unique).encode()).hexdigest()
    summary = {"first_turns": len(unique), "sha256": digest, "sketch": sketch[:SKETCH_SIZE]}
    return {"testbed": testbed, "part": part, **identity, **summary}


def estimate_shared_fraction(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """An estimate of the share of the smaller set's first turns that the other holds too; exact for small sets.

    Up to the lower of their ends both sketches are complete, so that the keys below it are a fair sample of both sets.
    """
    sketches = [_read_sketch(one), _read_sketch(other)]
    ends = [max(keys) for keys in sketches if len(keys) == SKETCH_SIZE]
    below = [{key for key in keys if not ends or key <= min(ends)} for keys in sketches]
    smaller = min(len(keys) for keys in below)
    return len(below[0] & below[1]) / smaller if smaller else 0.0


def refuse_overlap(evaluator: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> None:
    """Raises `UserError` when the evaluator saw data that another model saw: a policy, a reward model, their SFT model."""
    for other in others:
        if (share := estimate_shared_fraction(evaluator, other)) > 0:
            raise UserError(
                f"The evaluator was trained on {_format_name(evaluator)}, and {share:.1%} of the first human turns there "
                f"stand in {_format_name(other)}, on which another model was trained: its verdict would be worthless. "
                "Train the evaluator on data of its own (`part: evaluator` of the same testbed)."
            )


def _format_name(provenance: Mapping[str, Any]) -> str:
    return f"{provenance.get('testbed', '?')} (part {provenance.get('part', '?')})"


def _read_sketch(provenance: Mapping[str, Any]) -> set[str]:
    if "sketch" not in provenance:
        raise UserError(
            f"{_format_name(provenance)} carries no record of its training data: nothing shows that evaluator and models "
            "saw different data. Train the model with preflab."
        )
    return set(provenance["sketch"])
