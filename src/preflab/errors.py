"""The one exception for the user's mistakes.

A `UserError` says what was wrong, where (file, line, field) and what to do. The command line prints it without a
traceback and exits with code 2. Any other exception is a defect of preflab or a failure of the machine.
"""

from __future__ import annotations

import difflib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """A mistake of the user: what was wrong, where, and what to do about it."""


@contextmanager
def said_of(file: Path | None, directory: Path) -> Generator[None]:
    """While open, the message of a `UserError` begins with the run's file, if there is one, unless the message names that file
    or the run's directory."""
    try:
        yield
    except UserError as error:
        if file is None or str(file) in str(error) or str(directory) in str(error):
            raise
        raise UserError(f"{file}: {error}") from error


def refuse_unknown(names: Iterable[str], known: Iterable[str], words: str) -> None:
    """Raises `UserError` for the first of the names that is not known: `words` before it, a hint behind it."""
    known = list(known)
    for name in names:
        if name not in known:
            raise UserError(f"{words} {name!r}.{nearest(name, known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint with the known name closest to `name` (left out where none is close), then all known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Known: {', '.join(known)}."
