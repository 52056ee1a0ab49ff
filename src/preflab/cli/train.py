"""`preflab train`: one run of one method. Options that `train` does not have are the method's hyper-parameters."""

from __future__ import annotations

import argparse
from pathlib import Path

from preflab.cli.command import CliCommand
from preflab.cli.options import add_arm_options, add_verbosity_options, log_to_terminal


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", metavar="METHOD", nargs="?", help="sft, rm, dpo, ... or package.module:Method")
    parser.add_argument("-h", "--help", action="store_true", help="this help; with METHOD its hyper-parameters too")
    parser.add_argument("--run", metavar="FILE", type=Path, help="a run file, instead of METHOD and the options below")
    parser.add_argument("--output", metavar="DIR", type=Path, help="the run directory (default: runs/METHOD)")
    parser.add_argument("--fresh", action="store_true", help="delete the earlier run and start again")
    add_arm_options(parser)
    parser.add_argument(
        "--reward", metavar="REWARD", help="tests, a reward model's directory, module:function, command:… or http://…"
    )
    parser.add_argument("--init", metavar="DIR", help="the policy to start from")
    parser.add_argument("--preferences", metavar="FILE", help="pairs (JSON lines), instead of the testbed's own")
    parser.add_argument("--lora", metavar="RANK", type=int, help="train low-rank adapters of this rank")
    parser.add_argument("--no-evaluate", action="store_true", help="train only")
    add_verbosity_options(parser, quiet="show no progress", verbose="one line a step, on the terminal and in run.log")


def _run(options: argparse.Namespace) -> int:
    if options.help:
        print_help(options.method)
        return 0
    from preflab.arm.execute import execute
    from preflab.cli.arm_options import arm_from_options
    from preflab.cli.run_summary import summarize_run
    from preflab.train.settings import Keeping

    if options.verbose:
        log_to_terminal()
    arm = arm_from_options(options, options.more)
    directory = options.output or Path("runs") / arm.name
    keeping = Keeping(progress=not (options.quiet or options.verbose))
    result = execute(arm, directory, keeping=keeping, fresh=options.fresh)
    print(summarize_run(result, directory))
    return 1 if result["diverged"] and options.run is None else 0


def print_help(method: str | None) -> None:
    """Prints the options of `train`, then the hyper-parameters of the method, or the methods that there are."""
    from preflab.cli.method_options import print_method_help
    from preflab.methods import METHODS

    TRAIN_COMMAND.parser().print_help()
    if method is not None:
        print_method_help(method)
    else:
        names = ", ".join(METHODS.names())
        print(f"\nmethods: {names}\n`preflab train METHOD --help` lists the hyper-parameters of a method.")


TRAIN_COMMAND = CliCommand("train", "train one model with one method", _add_options, _run, takes_more=True)
