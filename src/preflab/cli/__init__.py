"""Runs the `preflab` command. Each file of this package defines one subcommand, or helpers that several subcommands
use.

The file of a subcommand parses its options, calls the library and prints the results. A subcommand imports the library
only when it runs, so that `--help` answers quickly.

The exit codes:
- 0: success
- 1: a failure, such as a failed run of a study
- 2: a mistake of the user, or a fault of a disk, such as a full disk
- 70: a bug in preflab
- 130: Ctrl-C
- 141: the program that reads the output has ended
- 143: SIGTERM

A training run writes a checkpoint before it exits with 130 or 143.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from preflab import __version__
from preflab.cli.command import CliCommand
from preflab.cli.compare import COMPARE_COMMAND
from preflab.cli.data_check import DATA_CHECK_COMMAND
from preflab.cli.data_show import DATA_SHOW_COMMAND
from preflab.cli.evaluate import EVALUATE_COMMAND
from preflab.cli.export import EXPORT_COMMAND
from preflab.cli.init import INIT_COMMAND
from preflab.cli.judge import JUDGE_COMMAND
from preflab.cli.models_fetch import MODELS_FETCH_COMMAND
from preflab.cli.models_list import MODELS_LIST_COMMAND
from preflab.cli.push import PUSH_COMMAND
from preflab.cli.rate import RATE_COMMAND
from preflab.cli.report import REPORT_COMMAND
from preflab.cli.sample import SAMPLE_COMMAND
from preflab.cli.sandbox_check import SANDBOX_CHECK_COMMAND
from preflab.cli.studies import STUDIES_COMMAND
from preflab.cli.study import STUDY_COMMAND
from preflab.cli.testbed_verify import TESTBED_VERIFY_COMMAND
from preflab.cli.theory_check import THEORY_CHECK_COMMAND
from preflab.cli.theory_counterexample import THEORY_COUNTEREXAMPLE_COMMAND
from preflab.cli.theory_synthetic import THEORY_SYNTHETIC_COMMAND
from preflab.cli.train import TRAIN_COMMAND
from preflab.cli.winrate import WINRATE_COMMAND
from preflab.endings import Stopped, report_error
from preflab.errors import UserError, nearest
from preflab.terminal import guarded

COMMANDS: dict[str, CliCommand] = {
    command.name: command
    for command in (
        *(INIT_COMMAND, STUDY_COMMAND, STUDIES_COMMAND, REPORT_COMMAND, EXPORT_COMMAND),
        *(TRAIN_COMMAND, EVALUATE_COMMAND, COMPARE_COMMAND, SAMPLE_COMMAND, WINRATE_COMMAND, PUSH_COMMAND),
        *(MODELS_FETCH_COMMAND, MODELS_LIST_COMMAND, DATA_SHOW_COMMAND, DATA_CHECK_COMMAND),
        *(TESTBED_VERIFY_COMMAND, JUDGE_COMMAND, RATE_COMMAND, SANDBOX_CHECK_COMMAND),
        *(THEORY_COUNTEREXAMPLE_COMMAND, THEORY_CHECK_COMMAND, THEORY_SYNTHETIC_COMMAND),
    )
}
"""Maps the name of each command to the command. The help lists the commands in this order."""
OLDER_SPELLINGS = {"data": DATA_SHOW_COMMAND}
"""Maps old names of commands to the commands that replace them: `preflab data TESTBED` still runs `preflab data show
TESTBED`."""
HELP = ("-h", "--help")
OVERVIEW = """\
usage: preflab COMMAND [OPTIONS]

Which alignment method wins on my model and my task, by how much, and can I trust the answer?

commands:
{commands}

`preflab COMMAND --help` lists the options of a command; `preflab --version` prints the version.

examples:
  preflab study quickstart                  run the embedded study: which method wins, with intervals
  preflab init --data my.jsonl --model DIR  write a study file for your own data and model
  preflab study my-study.yaml --plan        list the stages of a study, and the expected hours
  preflab train ppo --model tiny --testbed minicode --reward tests --output runs/ppo
  preflab train dpo --help                  list a method's hyper-parameters and their defaults
  preflab evaluate runs/ppo/final --testbed minicode --output runs/ppo-measured
  preflab winrate runs/dpo data:chosen --testbed jsonl --data my.jsonl --judge openai:MODEL
  preflab report runs/quickstart            write the report again, from the results of the runs
  preflab theory check                      check Theorem 4.1 on random problems, with certificates"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command line, then exits with the exit code of the command."""
    with guarded():
        try:
            code = run_command(sys.argv[1:] if arguments is None else arguments)
            sys.stdout.flush()  # inside the block, because only the block reports a write error
        except (Exception, KeyboardInterrupt, Stopped) as error:
            code = report_error(error)
    sys.exit(code)


def run_command(arguments: Sequence[str]) -> int:
    """Runs a command line and returns its exit code. Raises `UserError` for a mistake of the user."""
    first = arguments[0] if arguments else HELP[0]
    if first in HELP:
        print(OVERVIEW.format(commands=list_commands(COMMANDS.values())))
        return 0
    if first == "--version":
        print(f"preflab {__version__}")
        return 0
    if (group := find_group(first)) and arguments[1:2] and arguments[1] in HELP:
        print(f"commands:\n{list_commands(group)}")
        return 0
    command, rest = find_command(arguments)
    return command.start(rest, ["preflab", *arguments])


def find_command(words: Sequence[str]) -> tuple[CliCommand, Sequence[str]]:
    """Returns the command that the first one or two words name, and the words after this name. Raises `UserError` if no
    command has this name."""
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return COMMANDS[name], words[length:]
    if len(words) > 1 and words[0] in OLDER_SPELLINGS:
        return OLDER_SPELLINGS[words[0]], words[1:]
    group = [command.name for command in find_group(words[0])]
    if len(words) == 1 and group:
        raise UserError(f"`preflab {words[0]}` is a group of commands. Name one of its commands: {', '.join(group)}.")
    name = " ".join(words[:2]) if group else words[0]
    raise UserError(f"Unknown command {name!r}.{nearest(name, COMMANDS)}")


def find_group(word: str) -> list[CliCommand]:
    """Returns the commands whose names have two words and begin with `word`."""
    return [command for command in COMMANDS.values() if command.name.startswith(f"{word} ")]


def list_commands(commands: Iterable[CliCommand]) -> str:
    return "\n".join(f"  {command.name:<22} {command.summary}" for command in commands)
