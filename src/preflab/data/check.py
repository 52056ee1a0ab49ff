"""Counts the records on which a method will train, and raises an error if the method cannot learn from any of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from preflab.data.faults import EMPTY, SAME_ANSWERS, FaultFinder
from preflab.data.length_bias import LengthBias
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
    """The counts that `check_rows` returns. `noun`: the word for one row, such as `pair`. `rows`: the number of rows.
    `prompts`: the number of different prompts. `faults`: maps the description of each fault to the number of rows with
    this fault. `useless`: the number of rows that a model cannot learn from, because an answer is empty or all answers
    are the same. `longer_wins`: see `LengthBias.longer_wins`. `labels`: the labels that occur in the rows, True for
    good and False for bad."""

    noun: str
    rows: int
    prompts: int
    faults: Counter[str]
    useless: int
    longer_wins: float | None
    labels: frozenset[bool] = frozenset()

    def describe(self) -> str:
        """Returns the counts as one line of text."""
        words = [f"{counted(self.rows, self.noun)} for {counted(self.prompts, 'prompt')}"]
        words += [f"in {count} {fault}" for fault, count in self.faults.most_common()]
        if self.longer_wins is not None:
            words.append(f"the longer answer is chosen in {self.longer_wins:.0%}")
        if len(self.labels) == 1:
            label = "good" if True in self.labels else "bad"
            words.append(f"every label is {label}, so the data do not show how good and bad answers differ")
        return "; ".join(words)


def check_rows(rows: Iterable[AnyRecord], where: str) -> RowCounts:
    """Counts the records on which a run will train. `where`: a description of the records' source, for the error
    message.

    Raises `UserError` if the run cannot learn from any record. This happens if there are no records, or if in every
    record an answer is empty or all answers are the same.
    """
    finder, faults, useless, total = FaultFinder(), Counter[str](), 0, 0
    prompts: set[int] = set()
    labels: set[bool] = set()
    bias = LengthBias()
    noun = "prompt"
    for total, record in enumerate(rows, start=1):  # noqa: B007 # `total` is read after the loop
        noun = _NOUNS.get(type(record), "prompt")
        row = _make_row(record)
        prompts.add(hash(row.prompt.turns))
        if isinstance(record, Rated):
            labels.add(record.desirable)
        of_row = finder.find(row)
        faults.update(of_row)
        useless += EMPTY in of_row or SAME_ANSWERS in of_row
        if row.answer is not None and row.rejected is not None:
            bias.add(len(row.answer.text), len(row.rejected.text))
    if useless == total:
        reasons = ", ".join(fault for fault in (SAME_ANSWERS, EMPTY) if faults[fault])
        fault = f"in all of {counted(total, noun)} {reasons}" if total else "there is no row"
        raise UserError(
            f"{where}: {fault}. Nothing can be learned from these records. `preflab data check FILE` lists the faulty records."
        )
    return RowCounts(noun, total, len(prompts), faults, useless, bias.longer_wins, frozenset(labels))


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
