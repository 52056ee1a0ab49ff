"""What people read on a terminal: nothing that a file, a model or a name holds acts on it, whatever prints it."""

from __future__ import annotations

import io
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console  # noqa: TID251  (its only use)
from rich.segment import Segment

from preflab.text import visible


class VisibleStream(io.TextIOWrapper):
    """A stream in the place of `beneath`, with the same bytes under it, on which control characters are written out, but for
    `kept`."""

    def __init__(self, beneath: TextIO, kept: str = "") -> None:
        super().__init__(
            beneath.buffer,
            encoding=beneath.encoding,
            errors="backslashreplace",
            line_buffering=True,
            write_through=True,
        )
        self.beneath = beneath
        self.kept = kept

    def write(self, text: str, /) -> int:
        parts = text.split(self.kept) if self.kept else [text]
        return super().write(self.kept.join(map(visible, parts)))


WIDE = 10_000
"""Columns of a pipe or a file that is read by lines: no line of a table is longer."""


class Terminal(Console):
    """A console of rich, whose own colours and bars act, while what is printed on it does not. `wide`: in a pipe nothing is
    wrapped."""

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
    """While open, what is written to standard output and standard error does not act on a terminal."""
    before = sys.stdout, sys.stderr
    # Other libraries' bars of progress, on standard error, go back to the begin of their line.
    streams = VisibleStream(sys.stdout), VisibleStream(sys.stderr, kept="\r")
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in streams:
            stream.detach()
