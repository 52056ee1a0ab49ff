"""What people read on a terminal: nothing that a file, a model or a name holds acts on the terminal, whatever prints it."""

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
    """A stream in the place of `beneath` that writes control characters out as text, except the text `kept`."""

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
"""The number of columns for a pipe or a file that is read line by line: no line of a table is longer."""


class Terminal(Console):
    """A console of rich: its own colours and bars act on the terminal, but nothing in the printed text does. `wide`: lines
    are not wrapped in a pipe."""

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
    """While open, nothing that is written to standard output and standard error acts on a terminal."""
    before = sys.stdout, sys.stderr
    # The progress bars of other libraries, on standard error, go back to the beginning of their line.
    sys.stdout, sys.stderr = VisibleStream(sys.stdout), VisibleStream(sys.stderr, kept="\r")
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
