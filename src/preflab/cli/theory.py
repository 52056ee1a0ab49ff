"""`preflab theory NAME`: runs one command of the theory, prints what it found, and renews the page.

A command is a module with `define` and `find` (see `preflab.theory.finding`); what it finds may be a refutation,
which is no error. Exit code 1 says that a certificate failed, and the failing case is then the last line of the output.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

COMMANDS = {
    "counterexample": "Table 1 from computation: DPO's minimisers, PPO's limit, a certificate for each",
    "check": "Theorem 4.1 on random tabular problems, with certified bounds",
    "synthetic": "the 8 x 8 scenario of Figure 1: where do DPO and PPO move uncovered mass?",
}
"""In the page's order; each is the module `preflab.theory.NAME`."""


def define(parser: argparse.ArgumentParser) -> None:
    """The commands and their options. Loads no torch: `preflab --help` runs it."""
    commands = parser.add_subparsers(dest="theory", metavar="NAME", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        importlib.import_module(f"preflab.theory.{name}").define(command)
        command.add_argument(
            "--output", metavar="DIR", type=Path, help="write the finding, its figures and the page here"
        )


def run(options: argparse.Namespace) -> int:
    """The exit code: 1 where a certificate failed, else 0. Raises `UserError` for the user's mistakes."""
    from rich.console import Console

    from preflab.report.theory import print_finding, write_page
    from preflab.theory.finding import make_folder, write_finding

    if options.output is not None:
        make_folder(options.output)  # before the work, not after it
    finding = importlib.import_module(f"preflab.theory.{options.theory}").find(options)
    print_finding(finding, Console())
    if options.output is not None:
        write_finding(finding, options.output)
        print(write_page(options.output, list(COMMANDS)))
    if finding.failure is None:
        return 0
    print(json.dumps(finding.failure))
    return 1
