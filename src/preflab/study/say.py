"""Tells the user, in one line for each step, what a study does next while the user waits."""

from __future__ import annotations

import sys
from collections.abc import Callable

Say = Callable[[str], None]
"""A function that tells the user a line."""


def keep_silent(text: str) -> None:
    """Tells the user nothing."""


def say_on_stderr(text: str) -> None:
    """Prints the line on standard error immediately, even if standard error is a pipe."""
    print(text, file=sys.stderr, flush=True)
