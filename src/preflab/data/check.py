"""Counts what a training method is about to learn from, and refuses what can teach nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from preflab.data.faults import EMPTY, SAME_ANSWERS, FaultFinder
from preflab.data.row import DialogueRow
from preflab.errors import UserError
from preflab.text import counted
from preflab.types import Demonstration, Preference, Prompt, Ranking, Rated

AnyRecord = Prompt | Demonstration | Preference | Ranking | Rated
_NOUNS: dict[type[AnyRecord], str] = {
    Demonstration: "demonstration",
    Preference: "pair",
    Ranking: "ranking",
    Rated: "labelled answer",
}


@dataclass(frozen=True)
class RowCounts:
    """What `check_rows` counted. `noun`: what a row is called; `faults`: how many rows have each fault, by its words;
    `useless`: how many teach nothing, because an answer is empty or both are the same; `longer_wins`: of the pairs of unequal
    length the share whose chosen answer is the longer one, None where there are none."""

    noun: str
    rows: int
    prompts: int
    faults: Counter[str]
    useless: int
    longer_wins: float | None

    def describe(self) -> str:
        """The counts as one line."""
        words = [f"{counted(self.rows, self.noun)} for {counted(self.prompts, 'prompt')}"]
        words += [f"in {count} {fault}" for fault, count in self.faults.most_common()]
        if self.longer_wins is not None:
            words.append(f"the longer answer is chosen in {self.longer_wins:.0%}")
        return "; ".join(words)


def check_rows(rows: Iterable[AnyRecord], where: str) -> RowCounts:
    """The counts of what a run is about to learn from. `where`: its place in words, for the message.

    Raises `UserError` where no row can teach: there is none, or in every one an answer is empty or both are the same.
    """
    finder, faults, useless, total = FaultFinder(), Counter[str](), 0, 0
    prompts: set[int] = set()
    bias = LengthBias()
    noun = "prompt"
    for total, record in enumerate(rows, start=1):  # noqa: B007 # read behind the loop
        noun = _NOUNS.get(type(record), "prompt")
        row = _make_row(record)
        prompts.add(hash(row.prompt.turns))
        of_row = finder.find(row)
        faults.update(of_row)
        useless += EMPTY in of_row or SAME_ANSWERS in of_row
        if row.answer is not None and row.rejected is not None:
            bias.add(len(row.answer.text), len(row.rejected.text))
    if useless == total:
        reasons = ", ".join(fault for fault in (SAME_ANSWERS, EMPTY) if faults[fault])
        fault = f"in all of {counted(total, noun)} {reasons}" if total else "there is no row"
        raise UserError(
            f"{where}: {fault}, so that nothing can be learned. Mend the data: `preflab data check FILE` says which records."
        )
    return RowCounts(noun, total, len(prompts), faults, useless, bias.longer_wins)


class LengthBias:
    """How often the longer of two answers is the chosen one."""

    def __init__(self) -> None:
        self.longer = self.shorter = self.equal = 0

    def add(self, chosen: int, rejected: int) -> None:
        self.longer += chosen > rejected
        self.shorter += chosen < rejected
        self.equal += chosen == rejected

    @property
    def longer_wins(self) -> float | None:
        """The share of pairs of unequal length whose chosen answer is the longer one; None where there are none."""
        unequal = self.longer + self.shorter
        return self.longer / unequal if unequal else None

    @property
    def length_only_accuracy(self) -> float | None:
        """The share of pairs that a rule gets right which looks at lengths alone: always the longer one, or always the shorter,
        whichever does better, and half of the pairs of equal length. None where there are no pairs."""
        pairs = self.longer + self.shorter + self.equal
        return (max(self.longer, self.shorter) + self.equal / 2) / pairs if pairs else None


def _make_row(record: AnyRecord) -> DialogueRow:
    match record:
        case Prompt():
            return DialogueRow(record)
        case Demonstration():
            return DialogueRow(record.prompt, record.completion)
        case Preference():
            return DialogueRow(record.prompt, record.chosen, record.rejected)
        case Rated():
            answers = (record.completion, None) if record.desirable else (None, record.completion)
            return DialogueRow(record.prompt, *answers, rated=True)
        case Ranking():
            return DialogueRow(record.prompt, ranked=tuple(zip(record.completions, record.scores, strict=True)))
