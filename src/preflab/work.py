"""Reports the progress of long work, such as sampling answers, to the code that shows the progress.

The code that does the work calls `report_work` or `report_each`. The code that shows the progress runs the work in the
context `followed_by`. Neither piece of code needs to know the other.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Follower = Callable[[str, float], None]
"""A function that shows progress. It is called with the name of the work, such as "answers drawn", and with the share
of the work that is done, from 0 to 1."""
Item = TypeVar("Item")


def _ignore(what: str, share: float) -> None:
    """Ignores the report. Outside every context `followed_by`, this function is the follower (see `Follower`)."""


_follower: ContextVar[Follower] = ContextVar("follower", default=_ignore)


@contextmanager
def followed_by(follower: Follower) -> Generator[None]:
    """A context in which `follower` receives the reports about the progress of work. Reports from other threads do not
    reach `follower`."""
    token = _follower.set(follower)
    try:
        yield
    finally:
        _follower.reset(token)


def report_work(what: str, share: float) -> None:
    """Reports to the current follower which share of the work is done. Does nothing outside every context
    `followed_by`."""
    _follower.get()(what, share)


def report_each(what: str, items: Iterable[Item], total: int) -> Iterator[Item]:
    """Yields the items and reports the progress. `total`: the number of items. An item is reported as done when the
    caller requests the next item."""
    for done, item in enumerate(items, 1):
        yield item
        report_work(what, done / total)
