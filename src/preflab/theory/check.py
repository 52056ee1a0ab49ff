"""`preflab theory check`: Theorem 4.1 on random tabular problems, or on one from a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preflab.theory.finding import Finding


def define(parser: argparse.ArgumentParser) -> None:
    """The options of `preflab theory check`."""
    parser.add_argument("--trials", type=int, default=10000, metavar="N", help="random problems (default 10000)")
    parser.add_argument("--seed", type=int, default=0, help="the first draw; problem i of a seed is always the same")
    parser.add_argument("--prompts", type=int, default=3, help="of a problem, 1 to 8 (default 3)")
    parser.add_argument("--responses", type=int, default=6, help="to a prompt, 2 to 12 (default 6)")
    parser.add_argument(
        "--coverage", type=float, default=0.7, help="share of responses offered for pairs (default 0.7)"
    )
    parser.add_argument("--beta", type=float, help="0.001 to 1000 (default: drawn from 0.05 to 2 for each problem)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="this one problem, as a failing trial prints it")


def find(options: argparse.Namespace) -> Finding:
    """Runs the trials. Raises `UserError` for an option out of its range or a file that holds no problem."""
    from preflab.theory.check_page import finding
    from preflab.theory.trials import run

    return finding(run(options), options)
