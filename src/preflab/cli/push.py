"""`preflab push`: sends the model of a finished run, with its model card, to the Hugging Face hub."""

from __future__ import annotations

import argparse

from preflab.cli.command import CliCommand
from preflab.cli.options import add_json_option, print_json
from preflab.paths import user_path


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "directory",
        metavar="DIR",
        type=user_path,
        help="the directory of a finished run (also a run of a study: runs/STUDY/seed-0/ARM) or of a saved model",
    )
    add("repository", metavar="USER/NAME", help="the repository on the hub; a new repository is private")
    add_json_option(parser)


def _run(options: argparse.Namespace) -> None:
    from preflab.arm.saved import find_saved_model
    from preflab.models.push import create_repository, push_directory

    model = find_saved_model(options.directory)
    create_repository(options.repository)
    address = push_directory(model, options.repository)
    print_json({"directory": str(model), "pushed_to": address}) if options.json else print(f"sent to {address}")


PUSH_COMMAND = CliCommand("push", "send a trained model to the Hugging Face hub", _add_options, _run)
