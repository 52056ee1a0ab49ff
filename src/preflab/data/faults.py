"""Finds faults in rows. Examples are an empty prompt or answer, identical answers, and a row that repeats or
contradicts an earlier row.

Two different prompts with the same id are also a fault.
"""

from __future__ import annotations

from preflab.data.row import DialogueRow
from preflab.types import Completion, Problem, Prompt

NULL = 'an answer is a word that programs write for a missing value ("NaN", "None", "null")'
SAME_ANSWERS = "chosen and rejected are the same"
EMPTY = "an answer is empty"
EMPTY_PROMPT = "the last turn of the prompt is empty"
REPEATED = "it repeats an earlier record"
CONTRADICTED = "another record says the opposite"
ID_TAKEN = "an earlier record has the same id but another prompt, level or tests"
_NULL_WORDS = frozenset(("NaN", "nan", "None", "null", "NULL", "<NA>"))


def list_answers(row: DialogueRow) -> list[Completion]:
    """Returns all answers of a row: the ranked answers, or else the chosen and the rejected answer."""
    if row.ranked:
        return [answer for answer, _ in row.ranked]
    return [answer for answer in (row.answer, row.rejected) if answer is not None]


class FaultFinder:
    """Finds faults in a sequence of rows. The attribute `contradicted` contains the claims (see `make_claim`) that rows
    have contradicted so far. If two rows contradict each other, both rows have a fault. `find` sees the rows in order,
    so it always reports this fault for the later row. To report the fault for the earlier row too, first run another
    `FaultFinder` over the same rows. Then pass the `contradicted` claims of that finder to the constructor."""

    def __init__(self, contradicted: frozenset[int] = frozenset()) -> None:
        self._known = contradicted
        self._rows: set[int] = set()
        self._prompts: dict[int, int] = {}
        self._said: dict[int, bool] = {}
        self.contradicted: set[int] = set()

    def find(self, row: DialogueRow) -> list[str]:
        """Returns the descriptions of all faults in the next row. The list is empty if the row has no fault."""
        texts = [answer.text for answer in list_answers(row)]
        prompt = row.prompt.turns
        faults = [EMPTY] if any(not text.strip() for text in texts) else []
        if any(text.strip() in _NULL_WORDS for text in texts):
            faults.append(NULL)
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
        claim = make_claim(row)
        if claim is not None and self._is_contradicted(claim, row):
            faults.append(CONTRADICTED)
        return faults

    def _is_contradicted(self, claim: int, row: DialogueRow) -> bool:
        """Checks whether the row contradicts an earlier row, or whether its claim was passed to the constructor. Two
        rows contradict each other if they order the same two answers differently, or if they label the same answer
        differently."""
        texts = [answer.text for answer in (row.answer, row.rejected) if answer is not None]
        says = row.answer is not None if row.rated else texts == sorted(texts)
        if self._said.setdefault(claim, says) != says:
            self.contradicted.add(claim)
        return claim in self.contradicted or claim in self._known


def make_claim(row: DialogueRow) -> int | None:
    """Returns a key for the claim of a row. A pair claims that one of its answers is better. A row with a rated answer
    claims that the answer is good or bad. The key is a hash of the prompt and the answers, so rows that contradict each
    other have the same key. Returns None for a row that makes no claim."""
    texts = [answer.text for answer in list_answers(row)]
    if not (row.rated or (row.answer and row.rejected)) or len(set(texts)) < len(texts):
        return None
    compared = [answer.text for answer in (row.answer, row.rejected) if answer is not None]
    return hash((row.prompt.turns, frozenset(compared)))


def _hash_prompt(prompt: Prompt) -> int:
    tests = repr((prompt.public_tests, prompt.hidden_tests)) if isinstance(prompt, Problem) else ""
    return hash((prompt.turns, prompt.level, tests))
