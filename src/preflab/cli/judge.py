"""`preflab judge`: runs the tests of problems on the programs in a file, and writes each verdict to another file."""

from __future__ import annotations

import argparse

from preflab.cli.command import CliCommand
from preflab.cli.options import add_json_option, add_sandbox_options, judging_settings, print_json
from preflab.paths import user_path


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--problems", metavar="FILE", type=user_path, required=True, help="problems with tests (JSON lines)"
    )
    parser.add_argument(
        "--programs", metavar="FILE", type=user_path, required=True, help="programs to judge (JSON lines)"
    )
    parser.add_argument(
        "--out", metavar="FILE", type=user_path, required=True, help="the file for the verdicts (JSON lines)"
    )
    add_sandbox_options(parser)
    add_json_option(parser)


def _run(options: argparse.Namespace) -> int:
    """Judges the programs and returns the exit code: 1 if a program could not be judged, otherwise 0."""
    from preflab.testbeds.code.judge_file import judge_file

    counts = judge_file(options.problems, options.programs, options.out, **judging_settings(options))
    words = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()) or "nothing left to judge"
    print_json(counts) if options.json else print(words)
    return 1 if counts["error"] else 0


JUDGE_COMMAND = CliCommand("judge", "judge programs by their problems' tests, in a sandbox", _add_options, _run)
