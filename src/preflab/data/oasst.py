"""Turns OpenAssistant's trees of messages into rows. A tree is nested, as in OpenAssistant's releases, or a flat list
of messages, as on the hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

from preflab.data.labels import FileLabels
from preflab.data.lines import PlacedRecord, ReadLine, check_text
from preflab.data.numbers import require_finite
from preflab.data.row import DataRecord, DialogueRow, Turns, make_prompt_id
from preflab.errors import UserError
from preflab.types import Completion, Prompt, Turn


def read_tree(record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Returns the rows of all questions in a tree. If the answers to a question have ranks (0 is the best rank), the
    answers become one row with a ranking. If they have no ranks, each answer becomes a separate row. Deleted messages
    and messages that reviewers rejected are left out, together with all replies to them."""
    return list(_walk(cast(DataRecord, record["prompt"]), (), where))


def _walk(message: DataRecord, before: Turns, where: str) -> Iterator[DialogueRow]:
    """Yields the rows of a question and of all later questions below this question. Uses a stack instead of recursion,
    because a tree may be deeper than Python's recursion limit."""
    stack = [(message, before)]
    while stack:
        node, turns = stack.pop()
        if not _is_kept(node):
            continue
        is_question = node.get("role") in ("prompter", "user")
        turns = (*turns, Turn("user" if is_question else "assistant", check_text(node.get("text"), f"{where}: `text`")))
        replies = [reply for reply in _list_replies(node, where) if _is_kept(reply)]
        if is_question:
            yield from _make_rows(turns, replies, where)
        stack += [(reply, turns) for reply in reversed(replies)]


def _make_rows(turns: Turns, replies: list[DataRecord], where: str) -> Iterable[DialogueRow]:
    prompt = Prompt(make_prompt_id(turns), turns)
    answers = [Completion(check_text(reply.get("text"), f"{where}: `text`")) for reply in replies]
    ranks = [reply.get("rank") for reply in replies]
    if len(replies) < 2 or None in ranks:
        return [DialogueRow(prompt, answer) for answer in answers]
    scores = [-require_finite(rank, f"{where}: `rank`") for rank in ranks]
    ranked = tuple(sorted(zip(answers, scores, strict=True), key=lambda row: -row[1]))
    apart = ranked[0][1] > ranked[-1][1]
    margin = ranked[0][1] - ranked[-1][1] if apart else None
    return [DialogueRow(prompt, ranked[0][0], ranked[-1][0] if apart else None, margin, None, ranked)]


def _list_replies(message: DataRecord, where: str) -> list[DataRecord]:
    replies = message.get("replies") or []
    if not isinstance(replies, list) or not all(isinstance(reply, dict) for reply in replies):
        raise UserError(f"{where}: `replies` must be a list of messages.")
    return cast(list[DataRecord], replies)


def _is_kept(message: DataRecord) -> bool:
    return not message.get("deleted") and message.get("review_result") is not False


def join_trees(messages: Iterable[PlacedRecord]) -> Iterator[ReadLine]:
    """Joins flat messages into trees. Yields each tree with the place of its root message. Yields an error for each
    message whose parent is missing, and for each message that has the same id as an earlier message."""
    nodes: dict[str, dict[str, Any]] = {}
    places: dict[str, str] = {}
    for where, message in messages:
        name = str(message["message_id"])
        if name in nodes:
            yield where, UserError(f"{where}: an earlier message has the same id {name!r} ({places[name]}).")
            continue
        nodes[name], places[name] = {**message, "replies": []}, where
    roots: list[str] = []
    for name, node in nodes.items():
        parent = node.get("parent_id")
        if parent is None:
            roots.append(name)
        elif str(parent) in nodes:
            nodes[str(parent)]["replies"].append(node)
        else:
            message = f"{places[name]}: the parent message {parent!r} is not in the file."
            yield places[name], UserError(message)
    for name in roots:
        yield places[name], {"message_tree_id": name, "prompt": nodes[name]}
