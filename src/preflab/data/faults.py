"""Finds what is wrong with a row that could be read: in the row itself, or in comparison with the rows before it."""

from __future__ import annotations

from preflab.data.row import DialogueRow
from preflab.types import Completion

SAME_ANSWERS = "chosen and rejected are the same"
EMPTY = "an answer is empty"
REPEATED = "it stands further up too"
CONTRADICTED = "another record says the opposite"


def list_answers(row: DialogueRow) -> list[Completion]:
    """Returns every answer of a row."""
    if row.ranked:
        return [answer for answer, _ in row.ranked]
    return [answer for answer in (row.answer, row.rejected) if answer is not None]


class FaultFinder:
    """Finds the faults of rows that come one after another. `contradicted`: the keys of prompts and answers about which two
    rows say the opposite. If a key is known beforehand, both rows get the fault; otherwise only the later row gets it."""

    def __init__(self, contradicted: frozenset[int] = frozenset()) -> None:
        self._known = contradicted
        self._rows: set[int] = set()
        self._said: dict[int, bool] = {}
        self.contradicted: set[int] = set()

    def find(self, row: DialogueRow) -> list[str]:
        """Lists the faults of the next row. A row with faults can still be read."""
        texts = [answer.text for answer in list_answers(row)]
        prompt = row.prompt.turns
        faults = [EMPTY] if any(not text.strip() for text in texts) else []
        if len(texts) > 1 and len(set(texts)) == 1:
            faults.append(SAME_ANSWERS)
        scores = tuple(score for _, score in row.ranked)
        whole = hash((prompt, tuple(texts), scores, row.rated, row.answer is None))
        if whole in self._rows:
            faults.append(REPEATED)
        self._rows.add(whole)
        if (
            (row.rated or (row.answer and row.rejected))
            and len(set(texts)) == len(texts)
            and self._is_contradicted(row)
        ):
            faults.append(CONTRADICTED)
        return faults

    def _is_contradicted(self, row: DialogueRow) -> bool:
        """Checks whether another row says the opposite: it puts the same two answers in the other order, or gives the same
        answer the opposite label. The other row is an earlier one, or one that is known beforehand."""
        texts = [answer.text for answer in (row.answer, row.rejected) if answer is not None]
        key = hash((row.prompt.turns, frozenset(texts)))
        says = row.answer is not None if row.rated else texts == sorted(texts)
        if self._said.setdefault(key, says) != says:
            self.contradicted.add(key)
        return key in self.contradicted or key in self._known
