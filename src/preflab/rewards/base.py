"""What an opened reward offers, and the one check that every score passes which code outside preflab has produced."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from preflab.errors import UserError
from preflab.types import Completion, Prompt


class Reward(Protocol):
    """Scores completions. A reward that is not `deterministic` is journalled by whoever needs an exact resume."""

    @property
    def deterministic(self) -> bool:
        """The same prompt and completion always give the same score."""
        ...

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """One finite number a completion, row b answering prompt b; higher is better."""
        ...


def checked(scores: Any, count: int, source: str) -> list[float]:
    """`scores` as `count` finite floats; raises `UserError` naming the `source` and the first wrong row."""
    if isinstance(scores, (str, bytes, dict)) or not hasattr(scores, "__iter__"):
        raise UserError(
            f"{source} gave a {type(scores).__name__} for {count} completions; it must give a list of numbers."
        )
    given = list(scores)
    if len(given) != count:
        raise UserError(f"{source} gave {len(given)} scores for {count} completions; it must give one each, in order.")
    return [number(score, f"{source}, completion {row}") for row, score in enumerate(given)]


def number(score: Any, source: str) -> float:
    """`score` as a finite float; raises `UserError` otherwise."""
    try:
        value = math.nan if isinstance(score, (str, bytes)) else float(score)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{source}: the score must be a finite number, not {str(score)[:80]!r}.")
    return value


def to_json(prompt: Prompt, completion: Completion) -> dict[str, Any]:
    """A completion as programs outside preflab receive it."""
    return {
        "id": prompt.id,
        "prompt": [{"role": turn.role, "content": turn.content} for turn in prompt.turns],
        "completion": completion.text,
        "truncated": completion.truncated,
    }
