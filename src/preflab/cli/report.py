"""`preflab report`: writes the report of a study again, from the results of the study's runs."""

from __future__ import annotations

import argparse

from preflab.cli.command import CliCommand
from preflab.cli.options import add_json_option, print_json
from preflab.paths import user_path


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=user_path, help="the directory of a study")
    parser.add_argument(
        "--no-samples", action="store_true", help="leave out prompts and answers, if the data are private"
    )
    add_json_option(parser)


def _run(options: argparse.Namespace) -> None:
    from preflab.api import report_study

    results, page = report_study(options.directory, samples=not options.no_samples)
    print_json(results.model_dump(mode="json")) if options.json else print(page)


REPORT_COMMAND = CliCommand("report", "write a study's report again", _add_options, _run)
