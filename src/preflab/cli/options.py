"""Defines the options that several commands share."""

from __future__ import annotations

import argparse
import json
import logging
from typing import TYPE_CHECKING, Any

from preflab.errors import UserError
from preflab.models.spec import HUB_NAME
from preflab.paths import user_path

if TYPE_CHECKING:
    from preflab.testbeds.base import TestbedSpec


PARTS = ("testbed", "evaluator")
"""The options of `train`, `evaluate` and `compare` that choose a component of a run. Each component has settings, such
as `--testbed.rows 100`."""


def add_arm_options(parser: argparse.ArgumentParser, *, seed: bool = True) -> None:
    """Adds the options that `train`, `evaluate` and `compare` share. If `seed` is False, leaves out
    `--seed` and sets the seed to 0."""
    add = parser.add_argument
    add(
        "--testbed",
        metavar="NAME",
        default="minicode",
        help="minicode, hh_rlhf, jsonl, ... "
        "`--testbed.SETTING VALUE` gives a setting of the testbed; `--testbed NAME --help` lists the settings",
    )
    add_data_options(parser)
    parser.set_defaults(seed=0)
    if seed:
        add("--seed", metavar="N", type=int, default=0, help="the seed of every draw (default: 0)")
    add(
        "--token-budget",
        metavar="N",
        type=int,
        help="largest number of tokens in a micro-batch (default: 8192 on a GPU; fewer for wide models on a CPU)",
    )
    add(
        "--too-long",
        choices=("stop", "drop", "cut"),
        default="stop",
        help="what to do about rows that are longer than the model's context: stop before the first step, drop these "
        "rows, or cut them (default: stop); `drop` also drops rows that the model's chat template rejects",
    )
    add("--threads", metavar="N", type=int, default=1, help="number of CPU threads (default: 1)")
    add("--precision", choices=("fp32", "bf16"), default="fp32", help="fp32 or bf16 (default: fp32)")
    add("--device", metavar="NAME", default="auto", help="auto, cpu or cuda (default: auto)")
    add = parser.add_argument_group("measuring").add_argument
    add(
        "--evaluator",
        metavar="NAME|DIR",
        help="hidden-tests, a reward model's directory, or module:Class. "
        "`--evaluator.SETTING VALUE` gives a setting of the evaluator; `--evaluator NAME --help` lists the settings",
    )
    add("--max-new-tokens", metavar="N", type=int, help="longest answer in tokens (default: 256)")
    add(
        "--samples",
        metavar="N",
        type=int,
        help="number of answers to each problem (default: 8). If METHOD has an option `--samples`, N is its value",
    )
    add("--k", metavar="K", type=int, nargs="+", help="values of k in pass@k (default: 1; from 5 samples on, 1 and 5)")
    add(
        "--temperatures",
        metavar="T",
        type=float,
        nargs="+",
        help="sampling temperature (default: 0, greedy decoding); if several are given, validation chooses one",
    )


def describe_parts(options: argparse.Namespace) -> str:
    """Returns the help text for the settings of the chosen testbed and of the chosen evaluator."""
    from preflab.cli.spec_options import format_part_help
    from preflab.evaluation import EVALUATORS
    from preflab.testbeds import TESTBEDS

    texts = [format_part_help(TESTBEDS, options.testbed)]
    if options.evaluator is not None:
        is_model = user_path(options.evaluator).is_dir() or HUB_NAME.fullmatch(options.evaluator)
        kind = "reward-model" if is_model else options.evaluator
        texts.append(format_part_help(EVALUATORS, kind))
    return "\n\n".join(texts)


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name a testbed's data and choose the part of the data to read."""
    add = parser.add_argument
    add("--data", metavar="PATH|NAME", help="the testbed's data: a path or a hub name")
    add("--split", metavar="NAME", help="jsonl: the split to read, if the data have several")
    add("--rows", metavar="N", type=int, help="jsonl: read only the first N records")
    add("--part", choices=("policy", "evaluator"), help="jsonl, hh_rlhf, safe_rlhf: the part of the data to train on")


def testbed_from_options(options: argparse.Namespace) -> TestbedSpec:
    """Returns the testbed that the options name, with the data and the settings that the options choose. Raises
    `UserError` for an option or a setting that this testbed does not have."""
    from preflab.cli.spec_options import part_from_options
    from preflab.testbeds import TESTBEDS

    given = {"data": options.data, "split": options.split, "rows": options.rows, "part": options.part}
    settings = {name: value for name, value in given.items() if value is not None}
    fields = TESTBEDS.load(options.testbed).model_fields if settings else {}
    for name in settings:
        if name not in fields:
            reason = f"has no `{name}`" if "data" in fields else "brings its own data"
            raise UserError(f"The testbed {options.testbed} {reason}: --{name} does not apply.")
    words = options.settings.get("testbed", [])
    if not words:
        return TESTBEDS.parse({"kind": options.testbed, **settings} if settings else options.testbed)
    names = {word.partition("=")[0] for word in words}
    for name in settings:
        if f"--testbed.{name}" in names:
            raise UserError(f"--{name} and --testbed.{name} are the same setting. Give only one of them.")
    return part_from_options(TESTBEDS, options.testbed, [*(f"--testbed.{k}={v}" for k, v in settings.items()), *words])


def add_sandbox_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--workers", metavar="N", type=int, default=0, help="programs to judge at a time (default: one per core)")
    add("--backend", metavar="NAME", default="bubblewrap", help="bubblewrap, or bare: no sandbox (default: bubblewrap)")
    add("--packages", metavar="NAME", nargs="+", default=(), help="further packages that programs may import")


def judging_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the settings of the sandbox that the options choose, and the function that shows a progress bar. Raises
    `UserError` if `--workers` is negative."""
    from preflab.cli.progress import track_verdicts

    if options.workers < 0:
        raise UserError(f"--workers must be 0 (one worker per core) or more, not {options.workers}.")
    settings = {"workers": options.workers, "backend": options.backend, "packages": options.packages}
    return {**settings, "track": track_verdicts}


def add_verbosity_options(parser: argparse.ArgumentParser, *, quiet: str, verbose: str) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-q", "--quiet", action="store_true", help=quiet)
    group.add_argument("-v", "--verbose", action="store_true", help=verbose)


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def print_json(data: Any) -> None:
    """Prints plain data as JSON. A command with `--json` prints nothing else to standard output."""
    print(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False))


def log_to_terminal() -> None:
    """Sends all messages of the logger `preflab` to standard error."""
    logger = logging.getLogger("preflab")
    if not logger.handlers:  # the forked process of an arm inherits the study's handlers
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
