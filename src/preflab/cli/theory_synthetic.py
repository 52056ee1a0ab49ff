"""`preflab theory synthetic`: computes the 8 x 8 scenario of Figure 1 in Xu et al. 2024."""

from __future__ import annotations

import argparse

from preflab.cli.command import CliCommand
from preflab.cli.theory_finding import add_output_option, make_output, show_finding


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--seeds", metavar="N", type=int, default=32, help="number of seeds (default: 32)")
    add("--seed", metavar="N", type=int, default=0, help="the first seed (default: 0)")
    add("--beta", metavar="B", type=float, default=0.1, help="beta of every method (default: 0.1)")
    add(
        "--coverage",
        metavar="SHARE",
        type=float,
        default=0.5,
        help="share of responses that occur in a pair (default: 0.5)",
    )
    add("--steps", metavar="N", type=int, default=1000, help="optimizer steps of every network (default: 1000)")
    add_output_option(parser)


def _run(options: argparse.Namespace) -> int:
    from preflab.theory.synthetic.experiment import Setting
    from preflab.theory.synthetic.page import run_scenario

    make_output(options.output)
    setting = Setting(seeds=options.seeds, seed=options.seed, coverage=options.coverage, steps=options.steps)
    return show_finding(run_scenario(setting, options.beta), options.output, as_json=options.json)


THEORY_SYNTHETIC_COMMAND = CliCommand(
    "theory synthetic",
    "run the scenario of Figure 1: which responses outside of all pairs gain probability?",
    _add_options,
    _run,
)
