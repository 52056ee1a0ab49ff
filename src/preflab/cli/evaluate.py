"""`preflab evaluate`: measures a policy on prompts that it was not trained on."""

from __future__ import annotations

import argparse
from pathlib import Path

from preflab.cli.command import CliCommand
from preflab.cli.options import add_arm_options, add_json_option, print_json


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "policy", metavar="DIR", help="the directory of a trained policy, saved by preflab, TRL or transformers"
    )
    parser.add_argument("--start", metavar="DIR", help="the reference model for the KL, usually the SFT model")
    parser.add_argument("--output", metavar="DIR", type=Path, help="the run directory (default: runs/evaluate)")
    parser.add_argument("--fresh", action="store_true", help="delete the earlier run and start again")
    add_arm_options(parser)
    add_json_option(parser)


def _run(options: argparse.Namespace) -> None:
    from preflab.arm.execute import execute
    from preflab.cli.arm_options import evaluation_arm
    from preflab.cli.run_summary import summarize_run

    directory = options.output or Path("runs") / "evaluate"
    result = execute(evaluation_arm(options), directory, fresh=options.fresh)
    if options.json:
        print_json(result | {"directory": str(directory)})
    else:
        print(summarize_run(result, directory))


EVALUATE_COMMAND = CliCommand("evaluate", "measure a policy on unseen prompts", _add_options, _run)
