"""The console to which commands print tables and reports."""

from __future__ import annotations

import sys

from rich.console import Console

WIDE = 10_000
"""Columns of a pipe or a file: no line of a table is longer."""


def open_console() -> Console:
    """Standard output: as wide as the terminal, and in a pipe as wide as what is printed, so that nothing is wrapped there."""
    return Console(width=None if sys.stdout.isatty() else WIDE)
