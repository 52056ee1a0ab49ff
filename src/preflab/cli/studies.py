"""`preflab studies`: the studies that come with preflab."""

from __future__ import annotations

import argparse

from preflab.cli.command import CliCommand
from preflab.cli.options import add_json_option, print_json


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of a study file instead")
    add_json_option(parser)


def _run(options: argparse.Namespace) -> None:
    if options.schema:
        from preflab.study.schema import study_schema

        print(study_schema())
        return
    from preflab.study.load import preset_names, preset_summary

    summaries = {name: preset_summary(name) for name in preset_names()}
    if options.json:
        print_json(summaries)
        return
    for name, summary in summaries.items():
        print(f"{name:<16} {summary}")


STUDIES_COMMAND = CliCommand("studies", "list the studies that come with preflab", _add_options, _run)
