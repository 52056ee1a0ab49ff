"""Options that several commands have."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

from preflab.errors import UserError

if TYPE_CHECKING:
    from preflab.testbeds.base import TestbedSpec


def add_arm_options(parser: argparse.ArgumentParser) -> None:
    """The options that `train` and `evaluate` share."""
    parser.add_argument("--model", metavar="NAME|DIR", default="tiny", help="tiny, smollm2, a directory or a hub name")
    parser.add_argument("--testbed", metavar="NAME", default="minicode", help="minicode, hh_rlhf, jsonl, ...")
    parser.add_argument("--data", metavar="PATH|NAME", help="where the testbed's data lie: a path or a hub name")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="the seed of every draw (default: 0)")
    parser.add_argument(
        "--token-budget", metavar="N", type=int, default=8192, help="tokens of a micro-batch (default: 8192)"
    )
    parser.add_argument("--threads", metavar="N", type=int, default=1, help="threads of the processor (default: 1)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="fp32 or bf16 (default: fp32)")
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu or cuda (default: auto)")
    measuring = parser.add_argument_group("measuring")
    measuring.add_argument(
        "--evaluator", metavar="NAME|DIR", help="hidden-tests, a reward model's directory, or module:Class"
    )
    measuring.add_argument(
        "--max-new-tokens", metavar="N", type=int, help="tokens of the longest answer (default: 256)"
    )
    measuring.add_argument(
        "--samples", metavar="N", type=int, help="answers a problem (default: 8), or the method's own"
    )
    measuring.add_argument("--k", metavar="K", type=int, nargs="+", help="the k of pass@k (default: 1 5)")
    measuring.add_argument("--temperatures", metavar="T", type=float, nargs="+", help="choices (default: .2 .6 1)")


def testbed_from_options(options: argparse.Namespace) -> TestbedSpec:
    """The testbed that the options name, with the data of --data. Raises `UserError` where it brings its own data."""
    from preflab.testbeds import TESTBEDS

    if options.data is None:
        return TESTBEDS.parse(options.testbed)
    if "data" not in TESTBEDS.load(options.testbed).model_fields:
        raise UserError(f"The testbed {options.testbed} brings its own data: --data does not apply.")
    return TESTBEDS.parse({"kind": options.testbed, "data": options.data})


def add_sandbox_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", metavar="N", type=int, default=0, help="programs at once (default: one a core)")
    parser.add_argument(
        "--backend", metavar="NAME", default="bubblewrap", help="bubblewrap, or bare: no walls (default: bubblewrap)"
    )


def read_workers(options: argparse.Namespace) -> int:
    """The value of --workers. Raises `UserError` where it is negative."""
    if options.workers < 0:
        raise UserError(f"--workers {options.workers}: give 1 or more, or 0 for one a core.")
    return options.workers


def add_verbosity_options(parser: argparse.ArgumentParser, *, quiet: str, verbose: str) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-q", "--quiet", action="store_true", help=quiet)
    group.add_argument("-v", "--verbose", action="store_true", help=verbose)


def log_to_terminal() -> None:
    """Sends everything that the logger `preflab` is given to standard error."""
    logger = logging.getLogger("preflab")
    if not logger.handlers:  # an arm is a fork of its study, and has the study's
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
