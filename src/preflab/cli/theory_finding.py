"""Prints the finding of a theory command, writes it to a file, and updates the HTML page of all findings.

A finding that refutes a theorem sets the exit code to 1, but raises no error.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from preflab.cli.options import add_json_option, print_json
from preflab.paths import user_path

if TYPE_CHECKING:
    from preflab.theory.finding import Finding


def add_output_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", metavar="DIR", type=user_path, help="directory for the finding, its figures and the page"
    )
    add_json_option(parser)


def make_output(directory: Path | None) -> None:
    """Makes the output directory before the computation begins. Raises `UserError` if the directory cannot be made."""
    from preflab.theory.finding import make_folder

    if directory is not None:
        make_folder(directory)


def show_finding(finding: Finding, directory: Path | None, *, as_json: bool = False) -> int:
    """Prints the finding. If `directory` is given, also writes the finding and the page. Returns the exit code: 1 if
    the finding has a `failure`, otherwise 0. If it has a `failure` and `as_json` is False, the last printed line is the
    `failure` as JSON."""
    from preflab.report.theory import print_finding, write_page
    from preflab.terminal import Terminal
    from preflab.theory.finding import write_finding

    if not as_json:
        print_finding(finding, Terminal(wide=True))
    if directory is not None:
        write_finding(finding, directory)
        page = write_page(directory)
        if not as_json:
            print(page)
    if as_json:
        print_json(finding.model_dump(mode="json"))
        return 0 if finding.failure is None else 1
    if finding.failure is None:
        return 0
    print(json.dumps(finding.failure))
    return 1
