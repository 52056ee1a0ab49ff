"""`preflab studies`: the studies that come with preflab."""

from __future__ import annotations

import argparse

from preflab.cli.command import CliCommand


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of a study file instead")


def _run(options: argparse.Namespace) -> None:
    if options.schema:
        from preflab.study.schema import study_schema

        print(study_schema())
        return
    from rich.table import Table
    from rich.text import Text

    from preflab.study.load import preset_names, preset_summary
    from preflab.terminal import Terminal

    table = Table(box=None, show_header=False, pad_edge=False)
    for name in preset_names():
        table.add_row(name, Text(preset_summary(name)))
    Terminal(wide=True).print(table)


STUDIES_COMMAND = CliCommand("studies", "list the studies that come with preflab", _add_options, _run)
