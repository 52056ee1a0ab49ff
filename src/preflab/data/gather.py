"""Joins records that belong together: OpenAssistant's flat messages, and HelpSteer2's scored answers to one prompt.

In HelpSteer2, the answers to one prompt are consecutive records, each of which repeats the prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from preflab.data.lines import ReadLine
from preflab.data.oasst import join_trees
from preflab.errors import UserError

_MESSAGE_FIELDS = frozenset(("message_id", "message_tree_id", "text", "role"))
_SCORED_FIELDS = frozenset(("prompt", "response", "helpfulness"))


def gather_records(lines: Iterable[ReadLine]) -> Iterator[ReadLine]:
    """Yields the records, after joining those that belong together. Scored answers to one prompt become a ranking. Flat
    messages become trees, which are yielded after all other records."""
    messages: list[tuple[str, dict[str, Any]]] = []
    group: list[tuple[str, dict[str, Any]]] = []
    for where, record in lines:
        if isinstance(record, UserError):
            yield where, record
        elif record.keys() >= _MESSAGE_FIELDS:
            messages.append((where, record))
        else:
            scored = record.keys() >= _SCORED_FIELDS
            if group and not (scored and record["prompt"] == group[0][1]["prompt"]):
                yield _join_answers(group)
                group = []
            if scored:
                group.append((where, record))
            else:
                yield where, record
    if group:
        yield _join_answers(group)
    yield from join_trees(messages)


def _join_answers(group: list[tuple[str, dict[str, Any]]]) -> ReadLine:
    """Joins answers to one prompt into a ranking by their helpfulness. A single answer is returned unchanged."""
    where, first = group[0]
    if len(group) == 1:
        return where, first
    answers, scores = zip(*((record["response"], record["helpfulness"]) for _, record in group), strict=True)
    return where, {"prompt": first["prompt"], "completions": list(answers), "scores": list(scores)}
