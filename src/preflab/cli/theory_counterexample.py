"""`preflab theory counterexample`: computes the counterexample in Table 1 of Xu et al. 2024."""

from __future__ import annotations

import argparse

from preflab.cli.command import CliCommand
from preflab.cli.theory_finding import add_output_option, make_output, show_finding
from preflab.paths import user_path


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--beta", metavar="B", type=float, default=0.1, help="beta of both methods, 0.001 to 1000 (default: 0.1)")
    add("--figure", metavar="FILE", type=user_path, help="a file for the figure (SVG)")
    add_output_option(parser)


def _run(options: argparse.Namespace) -> int:
    from preflab.theory.counterexample import compute_counterexample, write_figure

    make_output(options.output)
    finding = compute_counterexample(options.beta)
    if options.figure is not None:
        write_figure(finding.figures[0], options.figure)
    return show_finding(finding, options.output, as_json=options.json)


THEORY_COUNTEREXAMPLE_COMMAND = CliCommand(
    "theory counterexample", "compute Table 1: the minimisers of DPO and the limit of PPO", _add_options, _run
)
