"""`preflab export`: writes the finished runs of a study into one small file."""

from __future__ import annotations

import argparse

from preflab.cli.command import CliCommand
from preflab.cli.options import add_json_option, print_json
from preflab.paths import user_path
from preflab.text import counted


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=user_path, help="the directory of a study")
    parser.add_argument("file", metavar="FILE", type=user_path, help="the file to write, such as mine.runs.tar.xz")
    add_json_option(parser)


def _run(options: argparse.Namespace) -> None:
    from preflab.study.archive import export_runs

    count = export_runs(options.directory, options.file)
    if options.json:
        print_json({"file": str(options.file), "runs": count})
        return
    print(
        f"{options.file}: {counted(count, 'finished run')}. Import them with `preflab study … --import {options.file}`."
    )


EXPORT_COMMAND = CliCommand("export", "write a study's finished runs into one small file", _add_options, _run)
