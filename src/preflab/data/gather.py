"""Joins records that belong together: OpenAssistant's flat messages become trees, and HelpSteer2's scored answers to
one prompt become a ranking.

In HelpSteer2, the answers to one prompt are in consecutive records. Each of these records repeats the prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from preflab.data.lines import ReadLine
from preflab.data.oasst import join_trees
from preflab.data.prompts import COMMON_FIELDS, DIALOGUE_FIELDS, QUESTION_FIELDS
from preflab.data.row import DataRecord
from preflab.errors import UserError

SCORE = "helpfulness"
UNSCORED = "its `helpfulness` is null, so the quality of its answer is unknown"
_MESSAGE_FIELDS = frozenset(("message_id", "message_tree_id", "text", "role"))
_SCORED_FIELDS = frozenset(("prompt", "response", SCORE))
_PROMPT_FIELDS = (COMMON_FIELDS | {*QUESTION_FIELDS, *DIALOGUE_FIELDS, "context"}) - {"id"}


def gather_records(lines: Iterable[ReadLine]) -> Iterator[ReadLine]:
    """Yields the records, and joins records that belong together. Scored answers to one prompt become one record with a
    ranking. Flat messages become trees. The trees are yielded after all other records."""
    messages: list[tuple[str, dict[str, Any]]] = []
    group: list[tuple[str, dict[str, Any]]] = []
    for where, record in lines:
        if isinstance(record, UserError):
            yield where, record
        elif record.keys() >= _MESSAGE_FIELDS:
            messages.append((where, record))
        else:
            scored = record.keys() >= _SCORED_FIELDS
            if group and not (scored and _ask_the_same(record, group[0][1])):
                yield _join_answers(group)
                group = []
            if scored:
                group.append((where, record))
            else:
                yield where, record
    if group:
        yield _join_answers(group)
    yield from join_trees(messages)


def _ask_the_same(one: DataRecord, other: DataRecord) -> bool:
    """Checks whether two records with scored answers have the same prompt. The prompt is the same if all fields from
    which a prompt can be read are equal."""
    return all(one.get(name) == other.get(name) for name in _PROMPT_FIELDS)


def _join_answers(group: list[tuple[str, dict[str, Any]]]) -> ReadLine:
    """Joins records with answers to one prompt into one record, which ranks the answers by helpfulness. All other
    fields are copied from the first record. An id that is the same in all records is the id of the prompt, and is also
    copied. If the ids differ, they are ids of answers, and the joined record has no field `id`. A single record is
    returned unchanged."""
    where, first = group[0]
    if len(group) == 1:
        return where, first
    answers, scores = zip(*((record["response"], record["helpfulness"]) for _, record in group), strict=True)
    same_id = all(record.get("id") == first.get("id") for _, record in group)
    joined = {"response", "helpfulness"} if same_id else {"response", "helpfulness", "id"}
    others = {name: value for name, value in first.items() if name not in joined}
    return where, {**others, "completions": list(answers), "scores": list(scores)}
