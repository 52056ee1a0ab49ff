"""`UserError`, the exception for all mistakes of the user, and functions that write its messages.

A `UserError` says what is wrong, where (file, line, field) and what to do. The command line prints it without a
traceback and exits with code 2. Any other exception is a defect of preflab or a failure of the machine.
"""

from __future__ import annotations

import difflib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """Raised for a mistake of the user. The message says what is wrong, where, and what to do."""


class MissingRecords(UserError):
    """Raised if a split of the data has no records of the required kind, such as pairs. preflab then leaves out the
    measurement that needs these records. Damaged or unsuitable data raise a plain `UserError` instead."""


@contextmanager
def naming_file(file: Path | None, directory: Path) -> Generator[None]:
    """A context that puts the name of the run's `file` before the message of each `UserError`. A message stays
    unchanged if `file` is None, or if the message already names the file or the run's `directory`."""
    try:
        yield
    except UserError as error:
        if file is None or str(file) in str(error) or str(directory) in str(error):
            raise
        raise UserError(f"{file}: {error}") from error


def refuse_unknown(names: Iterable[str], known: Iterable[str], words: str) -> None:
    """Raises `UserError` for the first unknown name. The message is `words`, the name, and a hint with the nearest
    known name."""
    known = list(known)
    for name in names:
        if name not in known:
            raise UserError(f"{words} {name!r}.{nearest(name, known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns a hint for a message. The hint lists all known names. If a known name is similar to `name`, the hint also
    suggests this name."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Known: {', '.join(known)}."
