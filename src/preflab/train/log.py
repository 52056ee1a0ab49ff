"""Writes the messages of the logger `preflab` to the log file of a run while the run is open."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from preflab.errors import UserError
from preflab.train.files import refuse_special

logger = logging.getLogger("preflab")
RUN_LOG = "run.log"


@contextmanager
def logged(directory: Path) -> Generator[None]:
    """Writes the log messages of the block to `run.log`. If the program has not set up its own log handlers, warnings
    also go to the terminal.

    In a study, the standard error of an arm's process is written to `run.log`. In this case, no handler for the file is
    added, so that each message is written only once. If the block raises `UserError` and the file is new and empty, the
    file is removed.
    """
    path = directory / RUN_LOG
    refuse_special(path)
    is_new = not path.exists()
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(logging.INFO if is_stderr(path) else logging.WARNING)
    handlers: list[logging.Handler] = [] if logger.hasHandlers() else [terminal]
    if not is_stderr(path):
        handlers.append(logging.FileHandler(path, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    level = logger.level
    logger.setLevel(min(level or logging.INFO, logging.INFO))  # keeps DEBUG if the program has set it
    try:
        yield
    except UserError:
        if is_new and path.exists() and not path.stat().st_size:
            path.unlink()
        raise
    finally:
        logger.setLevel(level)
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


def is_stderr(path: Path) -> bool:
    """Returns True if the standard error of this process is this file."""
    try:
        return path.exists() and os.path.samestat(os.fstat(2), path.stat())
    except OSError:  # there is no standard error
        return False
