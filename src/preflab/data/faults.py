"""Finds faults of rows: an empty prompt or answer, identical answers, or a row that repeats or contradicts an earlier row.

Also finds an id that names two different prompts.
"""

from __future__ import annotations

from preflab.data.row import DialogueRow
from preflab.types import Completion, Problem, Prompt

NULL = 'an answer is the word that programs write for a null ("NaN", "None", "null")'
SAME_ANSWERS = "chosen and rejected are the same"
EMPTY = "an answer is empty"
EMPTY_PROMPT = "the last turn of the prompt is empty"
REPEATED = "it stands further up too"
CONTRADICTED = "another record says the opposite"
ID_TAKEN = "its id stands further up with another prompt, level or tests"
_NULL_WORDS = frozenset(("NaN", "nan", "None", "null", "NULL", "<NA>"))


def list_answers(row: DialogueRow) -> list[Completion]:
    """Returns every answer of a row."""
    if row.ranked:
        return [answer for answer, _ in row.ranked]
    return [answer for answer in (row.answer, row.rejected) if answer is not None]


class FaultFinder:
    """Finds the faults of rows that are given one after another. The attribute `contradicted` contains the claims (see
    `make_claim`) on which rows have contradicted each other so far. A row that contradicts an earlier row gets a fault.
    The earlier row gets this fault only if its claim is in the constructor's argument `contradicted`. A first pass over
    the same rows finds the claims for this argument."""

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
        """Checks whether this row contradicts an earlier row, or has a claim that the constructor received. Two rows
        contradict each other if they order the same two answers differently, or label the same answer differently."""
        texts = [answer.text for answer in (row.answer, row.rejected) if answer is not None]
        says = row.answer is not None if row.rated else texts == sorted(texts)
        if self._said.setdefault(claim, says) != says:
            self.contradicted.add(claim)
        return claim in self.contradicted or claim in self._known


def make_claim(row: DialogueRow) -> int | None:
    """Returns a key for the claim of a row, computed from the prompt and the answers. A pair claims which of its two
    answers is better. A row with a rated answer claims whether the answer is good. Rows that contradict each other have
    the same key. Returns None if a row makes no claim."""
    texts = [answer.text for answer in list_answers(row)]
    if not (row.rated or (row.answer and row.rejected)) or len(set(texts)) < len(texts):
        return None
    compared = [answer.text for answer in (row.answer, row.rejected) if answer is not None]
    return hash((row.prompt.turns, frozenset(compared)))


def _hash_prompt(prompt: Prompt) -> int:
    tests = repr((prompt.public_tests, prompt.hidden_tests)) if isinstance(prompt, Problem) else ""
    return hash((prompt.turns, prompt.level, tests))
