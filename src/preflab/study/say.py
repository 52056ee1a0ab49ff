"""Tells the user, in a line each, what a long work of a study does next."""

from __future__ import annotations

import sys
from collections.abc import Callable

Say = Callable[[str], None]
"""A function that tells the user a line."""


def keep_silent(text: str) -> None:
    """Tells the user nothing."""


def say_on_stderr(text: str) -> None:
    """Prints the line on standard error at once, also if this is a pipe."""
    print(text, file=sys.stderr, flush=True)
