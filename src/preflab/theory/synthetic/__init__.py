"""The synthetic scenario of the paper (Section 4.2, Figure 1): where do DPO and PPO move mass that no pair speaks of?

Read `scenario` (the data), `networks` (MLPs, trained for all seeds at once), `objectives` (what each method minimises),
`experiment` (one setting), `sweep` (many), `measures` and `conclude` (from numbers to the verdict), `figures`.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preflab.theory.finding import Finding


def define(parser: argparse.ArgumentParser) -> None:
    """The options of `preflab theory synthetic`."""
    parser.add_argument("--seeds", type=int, default=32, help="problems and networks to average over (default 32)")
    parser.add_argument("--seed", type=int, default=0, help="the first draw; the same one gives the same page")
    parser.add_argument("--beta", type=float, default=0.1, help="of every method (default 0.1)")
    parser.add_argument("--coverage", type=float, default=0.5, help="share of responses in pairs (default 0.5)")
    parser.add_argument("--steps", type=int, default=1000, help="optimizer steps of every network (default 1000)")


def find(options: argparse.Namespace) -> Finding:
    """Runs it all. Raises `UserError` for an option out of its range."""
    from preflab.theory.synthetic.page import find as found

    return found(options)
