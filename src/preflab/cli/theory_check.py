"""`preflab theory check`: checks Theorem 4.1 of Xu et al. 2024 on random tabular problems, or on one problem from a
file."""

from __future__ import annotations

import argparse

from preflab.cli.command import CliCommand
from preflab.cli.theory_finding import add_output_option, make_output, show_finding
from preflab.paths import user_path


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--trials", metavar="N", type=int, default=10000, help="number of random problems (default: 10000)")
    add("--seed", metavar="N", type=int, default=0, help="the seed, which fixes all problems (default: 0)")
    add("--prompts", metavar="N", type=int, default=3, help="prompts in a problem, 1 to 8 (default: 3)")
    add("--responses", metavar="N", type=int, default=6, help="responses to a prompt, 2 to 12 (default: 6)")
    add(
        "--coverage",
        metavar="SHARE",
        type=float,
        default=0.7,
        help="probability that a response can be in a pair (default: 0.7)",
    )
    add("--beta", metavar="B", type=float, help="0.001 to 1000 (default: drawn from 0.05 to 2 for each problem)")
    add(
        "--replay",
        metavar="FILE",
        type=user_path,
        help="check only the problem in FILE, which a failed trial printed",
    )
    add_output_option(parser)


def _run(options: argparse.Namespace) -> int:
    from preflab.theory.check import check_theorem, replay_problem
    from preflab.theory.problems import ProblemShape

    make_output(options.output)
    if options.replay is not None:
        return show_finding(replay_problem(options.replay), options.output, as_json=options.json)
    shape = ProblemShape(options.prompts, options.responses, options.coverage, options.beta)
    return show_finding(check_theorem(options.trials, options.seed, shape), options.output, as_json=options.json)


THEORY_CHECK_COMMAND = CliCommand(
    "theory check", "test Theorem 4.1 on random problems, with certificates", _add_options, _run
)
