"""Records which data a model was trained on, so that preflab can refuse an evaluator that was trained on the data of
another model.

Dialogues are compared by their *first human turn*, because dialogues with the same first turn have the same subject,
and often the same prompt. The key of a dialogue is the SHA-256 hash of its first human turn, without regard to case and
spacing. Another hash, computed from a salt and the key, maps the key to a place in [0, 1). The interval in which this
place lies decides the part of the dialogue. Splits are decided in the same way. The part and the split of a dialogue
therefore depend only on its first human turn.

A provenance record contains the number of keys, a digest of all keys, and a sketch of the keys. The sketch consists of
the `SKETCH_SIZE` smallest hashes of the keys under another salt. A sketch with fewer than `SKETCH_SIZE` hashes contains
the hashes of all keys, so small sets are compared exactly. The largest hash in a full sketch is the end of this sketch.
The sketch contains every hash of the data set up to this end, and no hash above it. Two full sketches are therefore
compared only up to the smaller of their two ends. If a fraction f of the smaller of two large sets is also in the
larger set, the comparison misses the overlap with probability (1 - f)^SKETCH_SIZE. This probability is 3e-5 for
f = 0.01.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from preflab.errors import UserError
from preflab.types import Prompt, Split

SKETCH_SIZE = 1024
_HEX_DIGITS = 16  # the length of a hash in a sketch, enough to avoid collisions


def make_turn_key(prompt: Prompt) -> str:
    """Returns the key of a dialogue: a hash of its first human turn. The hash ignores case and spacing."""
    turns = [turn for turn in prompt.turns if turn.role == "user"] or list(prompt.turns)
    return hashlib.sha256(" ".join(turns[0].content.casefold().split()).encode()).hexdigest()


def place_key(key: str, salt: str) -> float:
    """Maps a key to its place, a number in [0, 1). The places of keys are uniformly distributed. Different salts give
    independent places. The place is the same on every machine."""
    return int(hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()[:13], 16) / 16**13


def place_split(key: str, validation: float, test: float) -> Split:
    """Returns the split of a key. `validation`, `test`: the fractions of keys that go into these two splits."""
    place = place_key(key, "part")
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"


def describe_provenance(testbed: str, part: str, keys: Iterable[str], **identity: Any) -> dict[str, Any]:
    """Returns the provenance record of a model that was trained or selected on the dialogues with these `keys`. The
    record is plain JSON of at most 20 kB. `identity`: more values that the record must contain."""
    unique = sorted(set(keys))
    sketch = sorted(hashlib.sha256(f"sketch:{key}".encode()).hexdigest()[:_HEX_DIGITS] for key in unique)
    digest = hashlib.sha256("\n".join(unique).encode()).hexdigest()
    summary = {"first_turns": len(unique), "sha256": digest, "sketch": sketch[:SKETCH_SIZE]}
    return {"testbed": testbed, "part": part, **identity, **summary}


def estimate_shared_fraction(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Estimates the overlap of two data sets from their provenance records. Returns the fraction of first human turns
    in the smaller set that are also in the larger set. The fraction is exact for small sets.

    The largest hash in a full sketch is the end of this sketch. The sketch contains every hash of its data set up to
    this end. Up to the smaller of the two ends, both sketches are therefore complete, and the hashes in this range are
    a random sample of both data sets.
    """
    sketches = [_read_sketch(one), _read_sketch(other)]
    ends = [max(keys) for keys in sketches if len(keys) == SKETCH_SIZE]
    below = [{key for key in keys if not ends or key <= min(ends)} for keys in sketches]
    smaller = min(len(keys) for keys in below)
    return len(below[0] & below[1]) / smaller if smaller else 0.0


def refuse_overlap(evaluator: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> None:
    """Raises `UserError` if the evaluator was trained on some of the data of another model. `evaluator`: the
    evaluator's provenance record. `others`: the provenance records of the policy, of the reward model, and of the SFT
    models from which the policy and the reward model were trained."""
    for other in others:
        if (share := estimate_shared_fraction(evaluator, other)) > 0:
            raise UserError(
                f"The evaluator was trained on {_format_name(evaluator)}, and another model was trained on "
                f"{_format_name(other)}. "
                f"{share:.1%} of the first human turns in the smaller of these data sets are also in the larger one. The "
                "evaluator's verdict would be worthless. Train the evaluator on other data (`part: evaluator` of the same "
                "testbed)."
            )


def _format_name(provenance: Mapping[str, Any]) -> str:
    return f"{provenance.get('testbed', '?')} (part {provenance.get('part', '?')})"


def _read_sketch(provenance: Mapping[str, Any]) -> set[str]:
    if "sketch" not in provenance:
        raise UserError(
            f"A model was trained on {_format_name(provenance)}, but its record does not describe the training prompts, so "
            "preflab cannot check that the evaluator and the other models saw different data. Train this model with preflab."
        )
    return set(provenance["sketch"])
