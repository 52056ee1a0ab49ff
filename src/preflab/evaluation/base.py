"""What an evaluator is, and what it answers: a grade for each completion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from preflab.spec import Context, HoldsModels, open_spec
from preflab.types import Completion, Prompt, Split


@dataclass(frozen=True, slots=True)
class Grade:
    """One completion's `score`; for programs the outcome, which tests passed, and the first that failed."""

    score: float
    outcome: str = ""
    passed: tuple[bool, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Evaluator(ABC):
    """Grades answers. `binary`: scores are 0 or 1, so that pass@k has a meaning."""

    binary: bool = False

    @abstractmethod
    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        """One grade a completion, row b answering prompt b."""


class EvaluatorSpec(HoldsModels):
    """The settings of an evaluator."""

    @abstractmethod
    def open(self, context: Context) -> AbstractContextManager[Evaluator]:
        """The opened evaluator. Raises `UserError` where the testbed lacks what it needs."""


@contextmanager
def open_evaluator(spec: EvaluatorSpec, context: Context) -> Generator[Evaluator]:
    """The opened evaluator. Raises `UserError` where it lacks the base class."""
    with open_spec(spec, context, Evaluator) as evaluator:
        yield evaluator
