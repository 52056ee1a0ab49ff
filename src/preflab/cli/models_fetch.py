"""`preflab models fetch`: downloads the language model SmolLM2 into the cache."""

from __future__ import annotations

import argparse

from preflab.cli.command import CliCommand
from preflab.cli.options import add_json_option, print_json
from preflab.errors import UserError


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", default="smollm2", help="smollm2 (the default)")
    add_json_option(parser)


def _run(options: argparse.Namespace) -> None:
    from preflab.models import smollm2

    if options.name != "smollm2":
        raise UserError(
            "`preflab models fetch` downloads only smollm2. Another command, such as `preflab train`, "
            f"downloads {options.name!r} if you name it with --model."
        )
    place = str(smollm2.fetch())
    print_json({"name": options.name, "directory": place}) if options.json else print(place)


MODELS_FETCH_COMMAND = CliCommand("models fetch", "download a model into the cache", _add_options, _run)
