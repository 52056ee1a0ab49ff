"""Shows a progress bar on standard error, if standard error is a terminal."""

from __future__ import annotations

import sys

from rich.progress import track

from preflab.terminal import Terminal
from preflab.testbeds.code.judge_file import JudgedPrograms


def track_verdicts(verdicts: JudgedPrograms, label: str, total: int) -> JudgedPrograms:
    """Returns the given verdicts. Shows a progress bar with the text `label` while the caller reads them."""
    hidden = total == 0 or not sys.stderr.isatty()
    return track(verdicts, label, total, console=Terminal(stderr=True), disable=hidden)
