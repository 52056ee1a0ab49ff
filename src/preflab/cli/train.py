"""`preflab train`: trains one model with one method.

`train` passes each option that it does not know to the method, as a hyper-parameter.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from preflab.cli.command import CliCommand
from preflab.cli.options import (
    PARTS,
    add_arm_options,
    add_json_option,
    add_verbosity_options,
    describe_parts,
    log_to_terminal,
    print_json,
)
from preflab.paths import user_path


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("method", metavar="METHOD", nargs="?", help="sft, rm, dpo, ... or package.module:Method")
    add("-h", "--help", action="store_true", help="print this help, and the hyper-parameters of METHOD")
    add("--run", metavar="FILE", type=user_path, help="a run file, instead of METHOD and its settings")
    add("--output", metavar="DIR", type=user_path, help="the run directory (default: runs/METHOD)")
    add("--fresh", action="store_true", help="delete the earlier run and start again")
    add("--model", metavar="NAME|DIR", help="tiny, smollm2, a directory or a hub name (embedded testbeds: tiny)")
    add_arm_options(parser)
    add("--reward", metavar="REWARD", help="tests, a reward model's directory, module:function, command:… or http://…")
    add(
        "--cost",
        metavar="COST",
        help="the cost that scores harm, for ppo-lag: a cost model's directory, module:function, ...",
    )
    add("--init", metavar="DIR", help="the directory of the policy to start from, or of its finished run")
    add("--preferences", metavar="FILE", help="pairs (JSON lines) to use instead of the testbed's")
    add("--lora", metavar="RANK", type=int, help="train low-rank adapters of this rank")
    add(
        "--checkpoint-activations",
        action="store_true",
        help="compute each layer again in the backward pass, which takes less memory and more time",
    )
    add("--push", metavar="USER/NAME", help="upload the trained model to this Hugging Face repository")
    add("--no-evaluate", action="store_true", help="train without measuring the policy")
    add_json_option(parser)
    add_verbosity_options(parser, quiet="show no progress", verbose="print one line per step, also into run.log")


def _run(options: argparse.Namespace) -> int:
    if options.help:
        print_help(options)
        return 0
    from preflab.arm.execute import execute
    from preflab.cli.arm_options import arm_from_options
    from preflab.cli.run_summary import score_name, summarize_run
    from preflab.errors import naming_file
    from preflab.models.push import create_repository, push_directory
    from preflab.train.ownership import FINAL
    from preflab.train.settings import Keeping

    if options.verbose:
        log_to_terminal()
    arm = arm_from_options(options, options.more)
    directory = options.output or Path("runs") / arm.name
    keeping = Keeping(progress=not (options.quiet or options.verbose))
    if options.push is not None:
        create_repository(options.push)
    with naming_file(options.run, directory):
        result = execute(arm, directory, keeping=keeping, fresh=options.fresh)
    address = None
    if options.push is not None and result.diverged is None:
        address = push_directory(directory / FINAL, options.push)
    if options.json:
        print_json(result.as_data() | {"directory": str(directory), "pushed_to": address})
    else:
        print(summarize_run(result, directory, score_name(arm)) + (f"\nsent to {address}" if address else ""))
    return 1 if result.diverged is not None and options.run is None else 0


def print_help(options: argparse.Namespace) -> None:
    """Prints the options that all methods share, the hyper-parameters of the method, and the settings of the testbed
    and the evaluator. If the options name no method, prints the names of all methods instead of hyper-parameters."""
    from preflab.cli.spec_options import format_method_help
    from preflab.methods import METHODS

    parser, method = TRAIN_COMMAND.parser(), options.method
    if method is None:
        parser.usage = "preflab train METHOD [OPTIONS OF THE METHOD] [OPTIONS]"
        print(parser.format_help())
        names = ", ".join(METHODS.names())
        print(f"methods: {names}\n`preflab train METHOD --help` lists the hyper-parameters of a method.\n")
        print(describe_parts(options))
        return
    own = format_method_help(method)
    common = parser.format_help().partition("\noptions:")[2]
    usage = f"usage: preflab train {method} [OPTIONS]"
    print(f"{usage}\n\n{own}\n\noptions of every method:{common}\n{describe_parts(options)}")


TRAIN_COMMAND = CliCommand(
    "train", "train one model with one method", _add_options, _run, takes_more=True, own_help=True, parts=PARTS
)
