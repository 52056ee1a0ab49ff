"""Defines the events of a rater, which are stored in their order. The labels are the outcomes of all events that no
later `undo` event undid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from preflab.rating.pairs import Label

RatingChoice = Literal["left", "right", "tie", "skip", "undo"]
_OF_THE_LEFT = {"left": 1.0, "tie": 0.5, "right": 0.0}


class Chosen(BaseModel):
    """A rater's choice for a pair. `seconds`: how long the rater looked at the pair."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    pair: str
    choice: RatingChoice
    seconds: Annotated[float, Field(ge=0)]


class Event(Chosen):
    """A choice as it is stored. `left`: the answer that was shown on the left. `outcome`: 1 if the rater prefers the
    pair's first answer, .5 for a tie, 0 if the rater prefers the second answer; None if the event is not a label. `at`:
    the time of the event."""

    left: Literal["first", "second"]
    outcome: float | None
    at: str

    @model_validator(mode="after")
    def _outcome_agrees(self) -> Event:
        if self.outcome != find_outcome(self.choice, swapped=self.left == "second"):
            raise ValueError(f"the outcome {self.outcome} does not match the choice {self.choice!r}")
        return self


def describe_fault(error: ValidationError) -> str:
    """Returns a description of the first fault that pydantic found in a file. The description has one line."""
    fault = error.errors(include_url=False)[0]
    place = ".".join(map(str, fault["loc"]))
    return f"{f'`{place}`: ' if place else ''}{fault['msg'].removeprefix('Value error, ')}"


def make_event(pair: str, choice: RatingChoice, *, swapped: bool, seconds: float, at: str = "") -> Event:
    """Makes an event. `swapped`: whether the second answer was shown on the left. `at`: the time of the event; '' for
    the current time."""
    return Event(
        pair=pair,
        choice=choice,
        left="second" if swapped else "first",
        outcome=find_outcome(choice, swapped=swapped),
        seconds=seconds,
        at=at or datetime.now(UTC).isoformat(timespec="seconds"),
    )


def find_outcome(choice: RatingChoice, *, swapped: bool) -> float | None:
    """Returns the outcome of the pair's first answer: 1 (win), .5 (tie) or 0 (loss). Returns None if the choice is not
    a label."""
    if choice == "tie":
        return 0.5
    if choice not in _OF_THE_LEFT:
        return None
    return 1.0 if (choice == "left") != swapped else 0.0


def replay(events: Iterable[Event]) -> tuple[list[Event], str]:
    """Returns the events that were not undone, and a description of the first fault ('' if there is no fault). A fault
    is an event that cannot follow the events before it."""
    live: list[Event] = []
    for number, event in enumerate(events, 1):
        if fault := find_fault(live, event):
            return live, f"event {number} {fault}"
        if event.choice == "undo":
            live.pop()
        else:
            live.append(event)
    return live, ""


def find_fault(live: Sequence[Event], event: Event) -> str:
    """Returns the reason why an event cannot follow the events in `live`; '' if the event can follow. `live`: the
    earlier events that were not undone."""
    if event.choice == "undo":
        return "" if live and live[-1].pair == event.pair else "undoes an event that is not the last event"
    if any(each.pair == event.pair and each.outcome is not None for each in live):
        return f"is about the pair {event.pair!r}, which has a label already"
    return ""


def list_labels(events: Iterable[Event], rater: str) -> list[Label]:
    """Returns the labels of the rater that were not undone."""
    live, _ = replay(events)
    return [Label(each.pair, rater, each.outcome, each.seconds) for each in live if each.outcome is not None]
