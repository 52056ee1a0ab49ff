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
    from preflab.study.load import preset_names, preset_summary

    for name in preset_names():
        print(f"{name:<14} {preset_summary(name)}")


STUDIES_COMMAND = CliCommand("studies", "list the studies that come with preflab", _add_options, _run)
