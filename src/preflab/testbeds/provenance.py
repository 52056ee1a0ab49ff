"""Records what a model was trained on, so that an evaluator that saw the same data can be refused.

The unit is the *first human turn*: dialogues that begin alike share their subject, and often their prompts. The key of a
turn is the SHA-256 of its text without regard to case and spacing. For each salt, a key has a place in [0, 1). The parts of
the data are intervals of the places under one salt; validation is an interval of the places under another salt. A dialogue's
part therefore depends on its first turn alone.

A provenance keeps the number of keys, a digest of all keys, and a sketch. The sketch is the `SKETCH_SIZE` smallest digests
of the keys under a salt of its own. If two sets share a key below the ends of both sketches, the sketches reveal it. Small
sets are compared exactly. For two large sets that share the fraction f of the smaller set, the overlap is missed with
probability (1 - f)^SKETCH_SIZE, which is 3e-5 at one percent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from preflab.errors import UserError
from preflab.types import Prompt, Split

SKETCH_SIZE = 1024
_HEX_DIGITS = 16  # the length of a key in a sketch; enough that no two different keys agree


def make_turn_key(prompt: Prompt) -> str:
    """Returns the key of a dialogue, which is a digest of its first human turn without regard to case and spacing."""
    turns = [turn for turn in prompt.turns if turn.role == "user"] or list(prompt.turns)
    return hashlib.sha256(" ".join(turns[0].content.casefold().split()).encode()).hexdigest()


def place_key(key: str, salt: str) -> float:
    """Returns the place of a key in [0, 1). Places are uniform over keys, independent between salts, and the same on every
    machine."""
    return int(hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()[:13], 16) / 16**13


def place_split(key: str, validation: float, test: float) -> Split:
    """Returns the split into which a key falls. `validation`, `test`: the shares of these two splits."""
    place = place_key(key, "part")
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"


def describe_provenance(testbed: str, part: str, keys: Iterable[str], **identity: Any) -> dict[str, Any]:
    """Returns the provenance of a model that was trained or chosen on the dialogues behind `keys`, as plain JSON of 20 kB at
    most."""
    unique = sorted(set(keys))
    sketch = sorted(hashlib.sha256(f"sketch:{key}".encode()).hexdigest()[:_HEX_DIGITS] for key in unique)
    digest = hashlib.sha256("\n".join(unique).encode()).hexdigest()
    summary = {"first_turns": len(unique), "sha256": digest, "sketch": sketch[:SKETCH_SIZE]}
    return {"testbed": testbed, "part": part, **identity, **summary}


def estimate_shared_fraction(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Estimates the share of the smaller set's first turns that the other set also holds. The estimate is exact for small
    sets.

    Up to the lower of their two ends, both sketches are complete. The keys below that end are therefore a fair sample of
    both sets.
    """
    sketches = [_read_sketch(one), _read_sketch(other)]
    ends = [max(keys) for keys in sketches if len(keys) == SKETCH_SIZE]
    below = [{key for key in keys if not ends or key <= min(ends)} for keys in sketches]
    smaller = min(len(keys) for keys in below)
    return len(below[0] & below[1]) / smaller if smaller else 0.0


def refuse_overlap(evaluator: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> None:
    """Raises `UserError` if the evaluator saw data that another model saw. The other models are a policy, a reward model,
    and the SFT models behind them."""
    for other in others:
        if (share := estimate_shared_fraction(evaluator, other)) > 0:
            raise UserError(
                f"The evaluator was trained on {_format_name(evaluator)}, and {share:.1%} of its first human turns "
                f"are also in {_format_name(other)}, on which another model was trained. So the evaluator's verdict would be "
                "worthless. Train it on data of its own (`part: evaluator` of the same testbed)."
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
