"""Finds faults of rows: an empty prompt or answer, identical answers, or a row that repeats or contradicts an earlier row.

Also finds an id that names two different prompts.
"""

from __future__ import annotations

from preflab.data.row import DialogueRow
from preflab.types import Completion, Problem, Prompt

SAME_ANSWERS = "chosen and rejected are the same"
EMPTY = "an answer is empty"
EMPTY_PROMPT = "the last turn of the prompt is empty"
REPEATED = "it stands further up too"
CONTRADICTED = "another record says the opposite"
ID_TAKEN = "its id stands further up with another prompt, level or tests"


def list_answers(row: DialogueRow) -> list[Completion]:
    """Returns every answer of a row."""
    if row.ranked:
        return [answer for answer, _ in row.ranked]
    return [answer for answer in (row.answer, row.rejected) if answer is not None]


class FaultFinder:
    """Finds the faults of rows that are given one after another. `contradicted`: keys of prompts with their answers on
    which two rows contradict each other. If the constructor received a key, both rows with this key get the fault;
    otherwise only the later row gets the fault."""

    def __init__(self, contradicted: frozenset[int] = frozenset()) -> None:
        self._known = contradicted
        self._rows: set[int] = set()
        self._prompts: dict[int, int] = {}
        self._said: dict[int, bool] = {}
        self.contradicted: set[int] = set()

    def find(self, row: DialogueRow) -> list[str]:
        """Returns the faults of the next row, in words."""
        texts = [answer.text for answer in list_answers(row)]
        prompt = row.prompt.turns
        faults = [EMPTY] if any(not text.strip() for text in texts) else []
        if not any(turn.content.strip() for turn in prompt[-1:]):
            faults.append(EMPTY_PROMPT)
        if len(texts) > 1 and len(set(texts)) == 1:
            faults.append(SAME_ANSWERS)
        scores = tuple(score for _, score in row.ranked)
        whole = hash((prompt, tuple(texts), scores, row.rated, row.answer is None))
        if whole in self._rows:
            faults.append(REPEATED)
        self._rows.add(whole)
        named = _hash_prompt(row.prompt)
        if self._prompts.setdefault(hash(row.prompt.id), named) != named:
            faults.append(ID_TAKEN)
        if (
            (row.rated or (row.answer and row.rejected))
            and len(set(texts)) == len(texts)
            and self._is_contradicted(row)
        ):
            faults.append(CONTRADICTED)
        return faults

    def _is_contradicted(self, row: DialogueRow) -> bool:
        """Checks whether this row contradicts an earlier row, or has a key that the constructor received. Two rows
        contradict each other if they order the same two answers differently, or label the same answer differently."""
        texts = [answer.text for answer in (row.answer, row.rejected) if answer is not None]
        key = hash((row.prompt.turns, frozenset(texts)))
        says = row.answer is not None if row.rated else texts == sorted(texts)
        if self._said.setdefault(key, says) != says:
            self.contradicted.add(key)
        return key in self.contradicted or key in self._known


def _hash_prompt(prompt: Prompt) -> int:
    tests = repr((prompt.public_tests, prompt.hidden_tests)) if isinstance(prompt, Problem) else ""
    return hash((prompt.turns, prompt.level, tests))
