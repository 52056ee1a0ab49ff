"""`preflab testbed verify`: runs a testbed's tests on the testbed's own programs. The testbed's data say which of these
programs are right.

With `--compare`, the command judges the right programs again without the sandbox, and compares the verdicts.
"""

from __future__ import annotations

import argparse
import json

from preflab.cli.command import CliCommand
from preflab.cli.options import (
    add_data_options,
    add_json_option,
    add_sandbox_options,
    judging_settings,
    print_json,
    testbed_from_options,
)
from preflab.errors import UserError
from preflab.paths import user_path


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("testbed", metavar="NAME", help="apps, code_contests, humaneval, leetcode, mbpp, ...")
    add_data_options(parser)
    add("--programs", metavar="N", type=int, default=1, help="number of programs to judge per problem (default: 1)")
    add("--compare", action="store_true", help="judge right programs again without the sandbox, and compare")
    add("--reasons", metavar="FILE", type=user_path, help="known reasons why right programs fail, by problem (JSON)")
    add("--out", metavar="FILE", type=user_path, help="a file for counts and ids (JSON), without texts of the data")
    add_sandbox_options(parser)
    add_json_option(parser)


def _run(options: argparse.Namespace) -> int:
    """Verifies the testbed and returns the exit code. The exit code is 1 if a right program fails without a known
    reason, or if a right program gets another verdict outside the sandbox than inside. Otherwise the exit code is 0."""
    from preflab.testbeds.code.testbed import Code
    from preflab.testbeds.code.verify import read_reasons, verify_testbed
    from preflab.text import visible

    testbed = testbed_from_options(options)
    if not isinstance(testbed, Code):
        raise UserError(f"The testbed {options.testbed} has no programs to verify.")
    if options.programs < 1:
        raise UserError(f"--programs must be 1 or more, not {options.programs}.")
    if options.out is not None:
        if options.out.is_dir():
            raise UserError(f"--out {options.out} is a folder. Name a file.")
        try:
            options.out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {options.out} cannot be written: {error.strerror}.") from error
    reasons = {} if options.reasons is None else read_reasons(options.reasons)
    verification = verify_testbed(
        testbed, programs=options.programs, reasons=reasons, compare=options.compare, **judging_settings(options)
    )
    record = {"testbed": options.testbed, **verification.record()}
    if options.out is not None:
        options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if options.json:
        print_json(record)
        return 0 if verification.agrees else 1
    for name, value in record.items():
        if name != "exceptions":
            print(visible(f"{name}: {value}"))
    for name, (outcome, reason) in verification.exceptions.items():
        print(visible(f"  {name}: {outcome}; {reason or 'NO REASON KNOWN'}"))
    return 0 if verification.agrees else 1


TESTBED_VERIFY_COMMAND = CliCommand(
    "testbed verify", "judge a testbed's own programs by its own tests", _add_options, _run
)
