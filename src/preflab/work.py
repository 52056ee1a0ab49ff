"""Tells whoever follows a long piece of work, such as drawing answers, how much of it is done.

The code that does the work calls `report_work` or `report_each`, and does not know who follows. The code that shows the
progress surrounds the work with `followed_by`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Follower = Callable[[str, float], None]
"""Is called with what is done, such as "answers drawn", and with the share that is done, from 0 to 1."""
Item = TypeVar("Item")


def _ignore(what: str, share: float) -> None:
    """Follows nothing."""


_follower: ContextVar[Follower] = ContextVar("follower", default=_ignore)


@contextmanager
def followed_by(follower: Follower) -> Generator[None]:
    """In this context, `follower` is told how much of the work is done. The work in other threads is not followed."""
    token = _follower.set(follower)
    try:
        yield
    finally:
        _follower.reset(token)


def report_work(what: str, share: float) -> None:
    """Tells the follower which share of the work is done. Does nothing if nobody follows."""
    _follower.get()(what, share)


def report_each(what: str, items: Iterable[Item], total: int) -> Iterator[Item]:
    """Yields the items, of which there are `total`. An item is reported as done when the next one is asked for."""
    for done, item in enumerate(items, 1):
        yield item
        report_work(what, done / total)
