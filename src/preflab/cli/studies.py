"""`preflab studies`: lists the studies that come with preflab."""

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
    from rich.table import Table
    from rich.text import Text

    from preflab.study.load import preset_names, preset_summary
    from preflab.terminal import Terminal

    summaries = {name: preset_summary(name) for name in preset_names()}
    if options.json:
        print_json(summaries)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, summary in summaries.items():
        table.add_row(name, Text(summary))
    Terminal(wide=True).print(table)


STUDIES_COMMAND = CliCommand("studies", "list the studies that come with preflab", _add_options, _run)
