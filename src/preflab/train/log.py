"""A run's own log file: what the logger `preflab` says while the run is open."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger("preflab")
LOG = "run.log"


@contextmanager
def logged(directory: Path) -> Generator[None]:
    """While open, messages go to `run.log`, and warnings to the terminal too unless the program logs by itself.

    A study's arm has `run.log` as its standard error: there is one copy then, not two.
    """
    path = directory / LOG
    shown = logging.StreamHandler(sys.stderr)
    shown.setLevel(logging.INFO if is_stderr(path) else logging.WARNING)
    handlers: list[logging.Handler] = [] if logger.hasHandlers() else [shown]
    if not is_stderr(path):
        handlers.append(logging.FileHandler(path, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    level = logger.level
    logger.setLevel(min(level or logging.INFO, logging.INFO))  # DEBUG where the program asks for it
    try:
        yield
    finally:
        logger.setLevel(level)
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


def is_stderr(path: Path) -> bool:
    """Whether standard error is this very file."""
    try:
        return path.exists() and os.path.samestat(os.fstat(2), path.stat())
    except OSError:  # there is no standard error
        return False
