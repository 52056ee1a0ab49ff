"""Asks a judge about each pair of answers, once in each order of the answers, and joins the two choices into one
verdict. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from preflab.evaluation.pairwise import LOSS, TIE, WIN
from preflab.evaluation.preference.base import Choice, PairVerdict, PreferenceQuestion

Letter = Literal["A", "B"]
"""The name under which a judge sees an answer. The judge sees answer `A` before answer `B`."""


@dataclass(frozen=True)
class ShownPair:
    """A question whose two answers are shown in one order. `swapped`: whether the question's second answer is shown
    first, as A."""

    question: PreferenceQuestion
    swapped: bool

    @property
    def shown(self) -> tuple[str, str]:
        """The texts of the answers A and B."""
        texts = (self.question.first.text, self.question.second.text)
        return (texts[1], texts[0]) if self.swapped else texts


@dataclass(frozen=True)
class OrderReply:
    """A judge's reply about one `ShownPair`. `letter`: the letter of the answer that the judge calls more helpful; None
    if the reply does not clearly name an answer."""

    letter: Letter | None
    text: str = ""


def ask_both_orders(
    questions: Sequence[PreferenceQuestion], ask: Callable[[Sequence[ShownPair]], Sequence[OrderReply]]
) -> list[PairVerdict]:
    """Returns the verdict on each question. `ask`: a function that asks the judge and returns the reply to each shown
    pair. If the two answers are equal, the outcome is a tie, and the judge is not asked."""
    open_questions = [question for question in questions if question.first.text != question.second.text]
    shown = both_orders(open_questions)
    replies = list(ask(shown)) if shown else []
    by_question = dict(zip(map(id, open_questions), zip(replies[::2], replies[1::2], strict=True), strict=True))
    return [
        join_orders(question.pair, *by_question[id(question)])
        if id(question) in by_question
        else PairVerdict(question.pair, TIE)
        for question in questions
    ]


def both_orders(questions: Sequence[PreferenceQuestion]) -> list[ShownPair]:
    """Returns each question twice: with its first answer shown first, and with its second answer shown first. Leaves
    out questions whose two answers are equal."""
    different = [question for question in questions if question.first.text != question.second.text]
    return [ShownPair(question, swapped) for question in different for swapped in (False, True)]


def join_orders(pair: str, plain: OrderReply, swapped: OrderReply) -> PairVerdict:
    """Joins the judge's replies for the two orders of the answers, and returns the verdict. If the replies prefer
    different answers, or if a reply does not name an answer, the outcome is .5, as for a tie."""
    choices = (_choice(plain.letter, swapped=False), _choice(swapped.letter, swapped=True))
    outcome = TIE if choices[0] != choices[1] else {"first": WIN, "second": LOSS}.get(choices[0], TIE)
    return PairVerdict(pair, outcome, choices, (plain.text, swapped.text))


def _choice(letter: Letter | None, *, swapped: bool) -> Choice:
    if letter is None:
        return "unreadable"
    return "first" if (letter == "A") != swapped else "second"
