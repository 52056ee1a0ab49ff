"""`preflab evaluate`: measures a policy on prompts that were not used to train the policy."""

from __future__ import annotations

import argparse
from pathlib import Path

from preflab.cli.command import CliCommand
from preflab.cli.endpoint_options import add_endpoint_options
from preflab.cli.options import PARTS, add_arm_options, add_json_option, describe_parts, print_json
from preflab.errors import UserError
from preflab.paths import user_path


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "policy",
        metavar="DIR",
        nargs="?",
        help="a finished run, the directory of a policy that preflab, TRL or transformers saved, or openai:MODEL, "
        "a model that a server runs",
    )
    add("-h", "--help", action="store_true", help="show this help and the settings of the testbed and the evaluator")
    add("--start", metavar="DIR", help="the reference model for the KL, usually the SFT model")
    add("--output", metavar="DIR", type=user_path, help="the run directory (default: runs/evaluate)")
    add("--fresh", action="store_true", help="replace the earlier run with a new run")
    add_arm_options(parser)
    add_json_option(parser)
    add = add_endpoint_options(parser, cache="the folder `replies` of the run").add_argument
    add(
        "--api",
        choices=("chat", "completions"),
        help="chat: the server applies the chat template; completions: the model continues the prompt's text "
        "(default: chat)",
    )


def _run(options: argparse.Namespace) -> None:
    if options.help:
        print(f"{EVALUATE_COMMAND.parser().format_help()}\n{describe_parts(options)}")
        return
    if options.policy is None:
        raise UserError(
            "Give the directory of a policy before the options: preflab evaluate DIR. Or give openai:MODEL."
        )
    from preflab.arm.execute import execute
    from preflab.cli.arm_options import evaluation_arm
    from preflab.cli.run_summary import score_name, summarize_run

    directory = options.output or Path("runs") / "evaluate"
    arm = evaluation_arm(options)
    result = execute(arm, directory, fresh=options.fresh)
    if options.json:
        print_json(result.as_data() | {"directory": str(directory)})
    else:
        print(summarize_run(result, directory, score_name(arm)))


EVALUATE_COMMAND = CliCommand(
    "evaluate", "measure a policy on unseen prompts", _add_options, _run, own_help=True, parts=PARTS
)
