"""Defines `CliCommand`, the class of a subcommand, and `CliParser`, the parser of a subcommand's options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NoReturn

from preflab.errors import UserError, nearest

_OPTION = re.compile(r"--|-[A-Za-z]$")


@dataclass(frozen=True)
class CliCommand:
    """A subcommand of `preflab`.

    `name`: the one or two words that the user types after `preflab`, such as `theory check`. `run`: the function that
    runs the command. This function takes the parsed `options` and returns the exit code, or None for exit code 0.
    `options.words` contains the whole command line.

    `parts`: the options that choose a component of a run, such as `testbed`. `options.settings` maps each of these
    options to the words of the component's settings, such as `--testbed.rows 100`.

    `own_help`: if True, `run` handles `--help`. If False, the parser handles `--help`. `takes_more`: if True,
    `options.more` lists the options that the parser does not know. If False, an unknown option raises `UserError`.
    """

    name: str
    summary: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]
    takes_more: bool = False
    own_help: bool = False
    parts: tuple[str, ...] = ()

    def parser(self) -> CliParser:
        parser = CliParser(prog=f"preflab {self.name}", add_help=not self.own_help, allow_abbrev=False)
        parser.set_defaults(settings={})
        parser.description = f"{self.summary[0].upper()}{self.summary[1:]}."
        self.add_options(parser)
        return parser

    def start(self, arguments: Sequence[str], words: Sequence[str]) -> int:
        """Runs the command and returns its exit code. `arguments`: the words after the command's name. `words`: the
        whole command line."""
        parser = self.parser()
        own, settings = take_settings(arguments, self.parts)
        if self.takes_more:
            options, more = parser.parse_known_args(own)
            options.more = more
        else:
            parser.refuse_unknown(own)
            options = parser.parse_args(own)
        refuse_repeated(arguments)
        options.settings = settings
        options.words = [*words]
        return self.run(options) or 0


def take_settings(arguments: Sequence[str], parts: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Separates the settings of components, such as `--testbed.rows 100`, from the other words of a command line.
    `parts`: the options that choose a component. Returns the other words, and a mapping from each of `parts` to the
    words of the component's settings. The words of a setting are `--PART.NAME` and all words after it, up to the next
    option."""
    own: list[str] = []
    settings: dict[str, list[str]] = {part: [] for part in parts}
    words = own
    for word in arguments:
        if _OPTION.match(word):
            part, dot, _ = word.removeprefix("--").partition(".")
            words = settings[part] if dot and part in settings else own
        words.append(word)
    return own, settings


def refuse_repeated(arguments: Sequence[str]) -> None:
    """Raises `UserError` if the user gives an option twice, because the first value would be ignored without a warning.
    Treats every word that begins with two dashes as an option. A value that begins with two dashes must therefore
    follow `=`, as in `--option=--value`."""
    before_end = [*takewhile(lambda word: word != "--", arguments)]
    names = [word.partition("=")[0].replace("_", "-") for word in before_end if word.startswith("--")]
    repeated = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if repeated is not None:
        raise UserError(f"The option {repeated} is given twice. Give it once, followed by all its values.")


class CliParser(argparse.ArgumentParser):
    """An argument parser that raises `UserError` for a mistake of the user."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[0].upper()}{message[1:].rstrip('.')}. See `{self.prog} --help`.")

    def refuse_unknown(self, arguments: Sequence[str]) -> None:
        """Raises `UserError` if `arguments` contain an option with two dashes that the command does not have. The
        message suggests the known option with the most similar name."""
        known = [name for name in self._option_string_actions if name.startswith("--")]
        for argument in arguments:
            name = argument.partition("=")[0]
            if name == "--":
                return
            if name.startswith("--") and name not in known:
                raise UserError(f"`{self.prog}` has no option {name!r}.{nearest(name, known)}")
