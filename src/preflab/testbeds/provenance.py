"""Records which data a model was trained on. preflab can therefore refuse an evaluator that saw the same data.

Dialogues are compared by their *first human turn*. Dialogues with the same first turn have the same subject, and often
the same prompt. The key of a turn is the SHA-256 of its text, without regard to case and spacing. A hash of a salt
and the key gives the key a place in [0, 1). Each part of the data is an interval of the places under one salt; the
validation split is an interval under another salt. The part of a dialogue therefore depends only on its first turn.

A provenance record holds the number of keys, a digest of all keys, and a sketch of the keys. To make the sketch, each
key is hashed with another salt, and the `SKETCH_SIZE` smallest hashes are kept. A full sketch (`SKETCH_SIZE` hashes)
lacks only hashes above its largest hash. Two full sketches therefore show every shared hash up to the smaller of their
two largest hashes. A sketch with fewer hashes lacks none, so that small sets are compared exactly. If a fraction f of
the smaller of two large sets is also in the larger set, the sketches miss the overlap with probability
(1 - f)^SKETCH_SIZE. This probability is 3e-5 for f = 0.01.
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
    """Returns the key of a dialogue: a digest of the first human turn. The digest ignores case and spacing."""
    turns = [turn for turn in prompt.turns if turn.role == "user"] or list(prompt.turns)
    return hashlib.sha256(" ".join(turns[0].content.casefold().split()).encode()).hexdigest()


def place_key(key: str, salt: str) -> float:
    """Returns the place of a key, a number in [0, 1). Places are uniform over keys, independent between salts, and the
    same on every machine."""
    return int(hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()[:13], 16) / 16**13


def place_split(key: str, validation: float, test: float) -> Split:
    """Returns the split into which a key falls. `validation`, `test`: the shares of these two splits."""
    place = place_key(key, "part")
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"


def describe_provenance(testbed: str, part: str, keys: Iterable[str], **identity: Any) -> dict[str, Any]:
    """Returns the provenance record of a model that was trained or selected on the dialogues with these `keys`, as
    plain JSON of at most 20 kB."""
    unique = sorted(set(keys))
    sketch = sorted(hashlib.sha256(f"sketch:{key}".encode()).hexdigest()[:_HEX_DIGITS] for key in unique)
    digest = hashlib.sha256("\n".join(unique).encode()).hexdigest()
    summary = {"first_turns": len(unique), "sha256": digest, "sketch": sketch[:SKETCH_SIZE]}
    return {"testbed": testbed, "part": part, **identity, **summary}


def estimate_shared_fraction(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Estimates which share of the smaller set's first turns is also in the other set. The estimate is exact for small
    sets.

    A full sketch lacks only hashes above its largest hash. Up to the smallest such bound, both sketches are therefore
    complete, and their hashes are a fair sample of both sets.
    """
    sketches = [_read_sketch(one), _read_sketch(other)]
    ends = [max(keys) for keys in sketches if len(keys) == SKETCH_SIZE]
    below = [{key for key in keys if not ends or key <= min(ends)} for keys in sketches]
    smaller = min(len(keys) for keys in below)
    return len(below[0] & below[1]) / smaller if smaller else 0.0


def refuse_overlap(evaluator: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> None:
    """Raises `UserError` if the evaluator saw data that another model saw. `others`: the provenance records of the
    policy, of the reward model, and of the SFT models that they started from."""
    for other in others:
        if (share := estimate_shared_fraction(evaluator, other)) > 0:
            raise UserError(
                f"The evaluator was trained on {_format_name(evaluator)}, and {share:.1%} of its first human turns "
                f"are also in {_format_name(other)}, on which another model was trained. The evaluator's verdict would "
                "be worthless. Train the evaluator on other data (`part: evaluator` of the same testbed)."
            )


def _format_name(provenance: Mapping[str, Any]) -> str:
    return f"{provenance.get('testbed', '?')} (part {provenance.get('part', '?')})"


def _read_sketch(provenance: Mapping[str, Any]) -> set[str]:
    if "sketch" not in provenance:
        raise UserError(
            f"The model trained on {_format_name(provenance)} carries no record of its training data, so preflab cannot "
            "check that the evaluator and the other models saw different data. Train this model with preflab."
        )
    return set(provenance["sketch"])
