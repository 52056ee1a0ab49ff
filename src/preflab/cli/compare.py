"""`preflab compare`: measures policies that preflab or another tool trained, and reports them like the arms of a
study."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from pathlib import Path
from typing import Any

from preflab.cli.command import CliCommand
from preflab.cli.options import (
    PARTS,
    add_arm_options,
    add_json_option,
    add_verbosity_options,
    describe_parts,
    print_json,
)
from preflab.cli.outcome import print_outcome
from preflab.errors import UserError
from preflab.paths import user_path

STUDY_SETTINGS = ("token_budget", "too_long", "threads", "precision", "device")


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "policies",
        metavar="[NAME=]POLICY",
        nargs="*",
        help="two or more: a finished run, the directory of a policy that preflab, TRL or transformers saved, or a hub name",
    )
    add("-h", "--help", action="store_true", help="show this help and the settings of the testbed and the evaluator")
    add("--baseline", metavar="NAME", help="the policy to compare the others with; this policy cannot win")
    add("--output", metavar="DIR", type=user_path, help="the directory of the comparison (default: runs/compare)")
    add("--plan", action="store_true", help="print the expected hours, and measure nothing")
    add("--fresh", action="store_true", help="delete the earlier measurements and start again")
    add("--no-samples", dest="texts", action="store_false", help="leave prompts and answers out of the report")
    add("--prompts", metavar="N", type=int, help="number of prompts to use from a split (default: all)")
    add_arm_options(parser, seed=False)
    add_json_option(parser)
    add_verbosity_options(parser, quiet="print only the verdict and failures", verbose="print each policy's steps too")


def _run(options: argparse.Namespace) -> int:
    if options.help:
        print(f"{COMPARE_COMMAND.parser().format_help()}\n{describe_parts(options)}")
        return 0
    from preflab.study.launchers.local import keep_single_threaded

    keep_single_threaded()
    from preflab.api import plan_study, run_comparison
    from preflab.cli.options import log_to_terminal
    from preflab.cli.plan import format_plan
    from preflab.study.compare import comparison_study, name_policies
    from preflab.study.say import keep_silent, say_on_stderr

    if options.verbose:
        log_to_terminal()
    study = comparison_study(name_policies(options.policies), baseline=options.baseline, **comparison_settings(options))
    directory = options.output or Path("runs") / study.name
    if options.plan:
        say = keep_silent if options.quiet else say_on_stderr
        forecast = plan_study(study, directory, fresh=options.fresh, say=say)
        print_json(dataclasses.asdict(forecast)) if options.json else print(format_plan(study, forecast))
        return 0
    command = shlex.join(word for word in options.words if word != "--fresh")
    outcome = run_comparison(
        study, directory, command=command, fresh=options.fresh, samples=options.texts, quiet=options.quiet
    )
    return print_outcome(outcome, as_json=options.json)


def comparison_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the settings of the study that compares the policies, as the options set them. Raises
    `UserError` if neither the options nor the testbed name an evaluator."""
    from preflab.cli.arm_options import shared_settings

    settings = shared_settings(options)
    if settings["evaluator"] is None:
        raise UserError(f"The testbed {options.testbed} has no default evaluator. Name an evaluator with --evaluator.")
    evaluation = settings["evaluation"] | ({} if options.prompts is None else {"prompts": options.prompts})
    kept = {name: settings[name] for name in STUDY_SETTINGS}
    return {"testbed": settings["testbed"], "evaluator": settings["evaluator"], "evaluation": evaluation, **kept}


COMPARE_COMMAND = CliCommand(
    "compare",
    "measure policies trained anywhere, and report them as a study",
    _add_options,
    _run,
    own_help=True,
    parts=PARTS,
)
