"""The one exception for the user's mistakes.

A `UserError` says what was wrong, where (file, line, field) and what to do. The command line prints the message without a
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
def said_of(file: Path | None) -> Generator[None]:
    """While open, the message of a `UserError` begins with the file that it is about, if `file` is given."""
    try:
        yield
    except UserError as error:
        if file is None or str(file) in str(error):
            raise
        raise UserError(f"{file}: {error}") from error


def refuse_unknown(names: Iterable[str], known: Iterable[str], words: str) -> None:
    """Raises `UserError` for the first of the names that is not known. The message is `words`, the name and a hint."""
    known = list(known)
    for name in names:
        if name not in known:
            raise UserError(f"{words} {name!r}.{nearest(name, known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns a hint: the known name closest to `name` (left out if no name is close), then all known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Known: {', '.join(known)}."
