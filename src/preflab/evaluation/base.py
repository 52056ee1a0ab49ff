"""What an evaluator answers: a grade for each completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from preflab.types import Completion, Prompt, Split


@dataclass(frozen=True, slots=True)
class Grade:
    """One completion's `score`; for programs the outcome, which tests passed, and the first that failed."""

    score: float
    outcome: str = ""
    passed: tuple[bool, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Evaluator(Protocol):
    """`binary`: scores are 0 or 1, so that pass@k has a meaning."""

    binary: bool

    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]: ...
