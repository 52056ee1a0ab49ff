"""Prints the outcome of a study, for the commands that run a study."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from preflab.cli.options import print_json

if TYPE_CHECKING:
    from preflab.api import StudyOutcome


def print_outcome(outcome: StudyOutcome, *, as_json: bool) -> int:
    """Prints the results, the path of the report, and a line for each run that failed. Returns the exit code of the
    command: 1 if a run failed."""
    if as_json:
        print_json(outcome.results.model_dump(mode="json"))
    else:
        from preflab.report import print_summary
        from preflab.terminal import Terminal

        print_summary(outcome.results, Terminal(wide=True))
        print(f"Report: {outcome.page}")
    for failure in outcome.failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if outcome.failures else 0
