"""`preflab init`: writes a first study file, with comments, for your data and your model.

The command asks for the data and the model if no option names them.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from preflab.cli.command import CliCommand
from preflab.errors import UserError
from preflab.paths import user_path

_LONGEST_NAME = 100


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", metavar="FILE|NAME", help="your data: a file, a folder, a hub name")
    add("--model", metavar="NAME|DIR", help="the model to train: smollm2, a directory or a hub name")
    add(
        "--evaluator",
        metavar="DIR",
        default="",
        help="a reward model that scores answers (default: hidden tests, or a reward model trained on the data)",
    )
    add("--name", metavar="NAME", help="the name of the study (default: the file's name)")
    add(
        "--output",
        metavar="FILE",
        type=user_path,
        default=Path("study.yaml"),
        help="the study file (default: study.yaml)",
    )


def _run(options: argparse.Namespace) -> None:
    from preflab.study.first_file import FirstStudy, write_first_file

    name = _choose_name(options)
    if options.output.exists():
        raise UserError(f"{options.output} exists already. Name another file with --output.")
    data = options.data or ask("--data", "Your data (a file, a folder, or a name on the hub)")
    model = options.model or ask("--model", "The model to train (a directory, a name on the hub, smollm2)")
    text = write_first_file(FirstStudy(name, data, model, options.evaluator))
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{options.output} cannot be written: {error.strerror}.") from error
    print(f"{options.output} is written. Next: preflab study {options.output} --plan")


def _choose_name(options: argparse.Namespace) -> str:
    """Returns the name of the study: the value of `--name`, or the name of the study file without its suffix. In a name
    from the file, `-` replaces each sequence of characters that are not allowed in the name of a study."""
    from preflab.fields import check_name

    if options.name is None:
        plain = re.sub(r"[^A-Za-z0-9._+-]+", "-", options.output.stem).strip(".-")
        return plain[:_LONGEST_NAME] or "study"
    try:
        return check_name(options.name)
    except ValueError as error:
        raise UserError(f"--name {options.name!r}: {error}.") from error


def ask(option: str, question: str) -> str:
    """Asks the user a question and returns the answer. Raises `UserError` if the answer is empty, or if standard input
    is not a terminal."""
    from rich.prompt import Prompt

    answer = Prompt.ask(question) if sys.stdin.isatty() else ""
    if not answer.strip():
        raise UserError(f"`preflab init` needs a value for {option}.")
    return answer.strip()


INIT_COMMAND = CliCommand("init", "write a first study file for your data and your model", _add_options, _run)
