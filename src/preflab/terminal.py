"""Prints to a terminal. Control characters from files, models or names are printed as visible text and have no
effect."""

from __future__ import annotations

import io
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console  # noqa: TID251  (the only use of Console)
from rich.segment import Segment

from preflab.text import visible


class VisibleStream(io.TextIOBase):
    """A stream that makes control characters in a text visible, and writes the text to the stream `beneath`. The string
    `kept` is written unchanged."""

    def __init__(self, beneath: TextIO, kept: str = "") -> None:
        self.beneath = beneath
        self.kept = kept

    def write(self, text: str, /) -> int:
        parts = text.split(self.kept) if self.kept else [text]
        self.beneath.write(self.kept.join(map(visible, parts)))
        return len(text)

    def flush(self) -> None:
        self.beneath.flush()

    def isatty(self) -> bool:
        return self.beneath.isatty()

    def fileno(self) -> int:
        return self.beneath.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  # as in TextIOWrapper
        return self.beneath.encoding


WIDE = 10_000
"""The number of columns for output to a pipe or a file. All lines of tables are shorter, so no line is wrapped."""


class Terminal(Console):
    """A console of rich. The colours and progress bars of rich have their usual effect, but control characters in the
    printed text have no effect. `wide`: whether lines stay unwrapped if the output is not a terminal."""

    def __init__(self, *, stderr: bool = False, wide: bool = False, **settings: Any) -> None:
        stream = sys.stderr if stderr else sys.stdout
        if wide and not stream.isatty():
            settings["width"] = WIDE
        file = stream.beneath if isinstance(stream, VisibleStream) else stream
        super().__init__(file=file, **settings)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


@contextmanager
def guarded() -> Generator[None]:
    """A context in which control characters that are written to standard output or standard error are made visible and
    have no effect."""
    before = sys.stdout, sys.stderr
    # Progress bars of other libraries write "\r" to standard error, to return to the beginning of the line.
    sys.stdout, sys.stderr = VisibleStream(sys.stdout), VisibleStream(sys.stderr, kept="\r")
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
