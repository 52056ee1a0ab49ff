"""`preflab theory counterexample`: Table 1 of the paper, from computation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preflab.theory.finding import Finding


def define(parser: argparse.ArgumentParser) -> None:
    """The options of `preflab theory counterexample`."""
    parser.add_argument("--beta", type=float, default=0.1, help="of both methods, 0.001 to 1000 (default 0.1)")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="write the figure to this file as well (SVG)")


def find(options: argparse.Namespace) -> Finding:
    """Computes Table 1 and its certificates. Raises `UserError` for an option out of its range."""
    from preflab.theory.counterexample_page import finding, write_figure

    found = finding(options.beta)
    if options.figure is not None:
        write_figure(found.figures[0], options.figure)
    return found
