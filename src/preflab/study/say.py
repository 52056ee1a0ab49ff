"""Defines functions that show the user one line of text before each slow step of a study."""

from __future__ import annotations

import sys
from collections.abc import Callable

Say = Callable[[str], None]
"""A function that shows the user one line of text."""


def keep_silent(text: str) -> None:
    """Shows nothing. Callers use this function if they do not want lines."""


def say_on_stderr(text: str) -> None:
    """Prints the line on standard error without buffering."""
    print(text, file=sys.stderr, flush=True)
