"""Exports the rating page as one file for a rater elsewhere, and imports the labels that the rater sends back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from preflab.errors import UserError
from preflab.plain import parse_json, refuse_repeated_keys
from preflab.rating.events import Chosen, Event, describe_fault, make_event, replay
from preflab.rating.folder import RatingStore, clean_name, open_store
from preflab.rating.order import is_exported_swapped, is_swapped
from preflab.rating.page import DEFAULT_QUESTION, render_rating, show_pairs
from preflab.rating.pairs import RatedPair, check_pairs, digest_pairs
from preflab.text import brief


class SentEvent(Chosen):
    """A choice on an exported page. `swapped`: False if the page showed the two answers in the order in which the page
    stores them; True if the page showed them in the reverse order."""

    swapped: bool
    at: Annotated[str, Field(max_length=40)]


class SentLabels(BaseModel):
    """The file of labels that a rater downloads from an exported page. `export`: the digest of the pairs on the
    page."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["preflab labels"]
    export: str
    rater: str
    events: tuple[SentEvent, ...]


def export_page(pairs: Sequence[RatedPair], path: Path, *, question: str = DEFAULT_QUESTION) -> None:
    """Writes the page with its pairs into one HTML file, which needs no network. The rater downloads the labels from
    the page as a file, which `import_labels` reads. Raises `UserError` if the HTML file cannot be written."""
    check_pairs(pairs, "The pairs cannot be exported")
    digest = digest_pairs(pairs)
    shown = show_pairs(pairs, [is_exported_swapped(pair.id, digest) for pair in pairs])
    page = render_rating({"export": digest, "question": question, "rater": "", "pairs": shown}, connects=False)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"The page cannot be written to {path}: {error.strerror}.") from error


def import_labels(path: Path, folder: Path) -> int:
    """Reads the file of labels that a rater downloaded from an exported page, and adds the labels to `folder`. The
    folder must contain the page's pairs. Returns the number of new events. A file that was imported before adds
    nothing. A later file of the same rater adds only its new events.

    Raises `UserError`, and adds nothing, if the file is not a file of labels, if it belongs to other pairs, if it names
    an unknown pair, or if it contradicts this rater's events in the folder."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    sent = _parse_sent(content, str(path))
    rater = clean_name(sent.rater)
    with open_store(folder) as store:
        if sent.export != store.digest:
            raise UserError(f"{path} contains labels of another export, whose pairs are not the pairs in {folder}.")
        events = _undo_order(sent, rater, store, str(path))
        earlier = store.events(rater)
        known = min(len(earlier), len(events))
        if events[:known] != earlier[:known]:
            raise UserError(
                f"{path} was not imported, because {folder} has other labels of {rater}. If two people rate under this name, "
                "let one of them rate under another name."
            )
        new = events[known:]
        if new:
            store.add(rater, new)
    return len(new)


def _parse_sent(content: bytes, where: str) -> SentLabels:
    try:
        return SentLabels.model_validate(parse_json(content, where, pairs=refuse_repeated_keys))
    except pydantic.ValidationError as error:
        raise UserError(f"{where} is not a file of labels from an exported page: {describe_fault(error)}.") from error


def _undo_order(sent: SentLabels, rater: str, store: RatingStore, where: str) -> list[Event]:
    """Returns the events, each with the outcome of the pair's first answer. Undoes both the order in which the page
    stored the answers and the order in which the page showed them. Raises `UserError` if the `swapped` of an event is
    not the value that the page computes for this pair and rater."""
    known = {pair.id for pair in store.pairs}
    events: list[Event] = []
    for each in sent.events:
        if each.pair not in known:
            raise UserError(
                f"{where} labels the pair {brief(each.pair)}, which is not among the pairs of {store.folder}."
            )
        if each.swapped != is_swapped(each.pair, rater):
            raise UserError(
                f"{where}: the order of the answers to {brief(each.pair)} is not the order that {rater} saw."
            )
        swapped = each.swapped != is_exported_swapped(each.pair, store.digest)
        events.append(make_event(each.pair, each.choice, swapped=swapped, seconds=each.seconds, at=each.at))
    _, fault = replay(events)
    if fault:
        raise UserError(f"{where} is damaged: {fault}.")
    return events
