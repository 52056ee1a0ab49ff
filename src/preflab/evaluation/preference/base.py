"""Defines preference judges, the questions for a judge and the verdicts that a judge returns. Does not import torch."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from preflab.evaluation.preference.estimate import CallEstimate
from preflab.types import Completion, Prompt

Choice = Literal["first", "second", "unreadable"]
"""The answer that a judge called more helpful when it saw the two answers in one order. `unreadable`: the judge's reply
does not clearly name an answer."""


@dataclass(frozen=True)
class PreferenceQuestion:
    """Two answers to one prompt. `pair`: the name of the pair (see `name_pair`)."""

    pair: str
    prompt: Prompt
    first: Completion
    second: Completion


@dataclass(frozen=True)
class PairVerdict:
    """A judge's verdict on one pair.

    outcome: the result for the first answer: 1 for a win, .5 for a tie, 0 for a loss. The outcome is also .5 if a reply
    was unreadable.
    orders: the judge's two choices. The judge made the first choice when the first answer was shown first, and the
    second choice when the second answer was shown first. `orders` is empty if the judge was not asked, or if the judge
    scores each answer alone.
    replies: the texts of the judge's replies, in the order of `orders`.
    labels: if people judged, the outcome that each rater chose; `outcome` is the mean of `labels`. If a model judged,
    `labels` is empty.
    """

    pair: str
    outcome: float
    orders: tuple[Choice, ...] = ()
    replies: tuple[str, ...] = ()
    labels: tuple[float, ...] = ()

    @property
    def unreadable(self) -> bool:
        return "unreadable" in self.orders

    @property
    def chose_first_shown(self) -> tuple[float, float] | None:
        """Two numbers, one for each order of the answers: 1 if the judge chose the answer that was shown first, else 0.
        None instead of two numbers if a reply was unreadable, or if the judge was not asked in both orders."""
        if len(self.orders) != 2 or self.unreadable:
            return None
        return float(self.orders[0] == "first"), float(self.orders[1] == "second")


class PreferenceJudge(ABC):
    """The base class of preference judges. A judge compares two answers to one prompt."""

    @abstractmethod
    def compare(self, questions: Sequence[PreferenceQuestion]) -> list[PairVerdict]:
        """Returns one verdict for each question, in order. Raises `UserError` if the judge cannot answer."""

    def estimate(self, questions: Sequence[PreferenceQuestion]) -> CallEstimate:
        """Returns an estimate of the endpoint calls that `compare` would make for these questions, and of their
        cost."""
        return CallEstimate()

    def check_caps(self, estimate: CallEstimate) -> None:
        """Raises `UserError` if the estimated endpoint calls would exceed a cap. A judge without an endpoint has no
        cap."""
        del estimate


def make_question(prompt: Prompt, first: Completion, second: Completion) -> PreferenceQuestion:
    """Returns the question about two answers to a prompt."""
    return PreferenceQuestion(name_pair(prompt.id, first.text, second.text), prompt, first, second)


def name_pair(prompt: str, first: str, second: str) -> str:
    """Returns the name of a pair of answers. The name depends only on the prompt's id and the answers' texts. When a
    command is repeated, the pair gets the same name, so a person's label can be assigned to the pair again."""
    content = json.dumps([prompt, first, second], ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]
