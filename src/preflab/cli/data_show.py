"""`preflab data show`: prints how many records a testbed has in each split, and a few of its prompts."""

from __future__ import annotations

import argparse
import dataclasses

from preflab.cli.command import CliCommand
from preflab.cli.options import add_data_options, add_json_option, print_json, testbed_from_options
from preflab.errors import UserError


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "testbed",
        metavar="TESTBED",
        help="minicode, hh_rlhf, safe_rlhf, jsonl, ... `--testbed.SETTING VALUE` gives a setting of the testbed; "
        "`preflab train --testbed NAME --help` lists the settings",
    )
    add_data_options(parser)
    parser.add_argument("--show", metavar="N", type=int, default=3, help="number of prompts to print (default: 3)")
    add_json_option(parser)


def _run(options: argparse.Namespace) -> None:
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    from preflab.spec import Context
    from preflab.terminal import Terminal
    from preflab.testbeds.base import RECORD_KINDS, count_records, require_testbed
    from preflab.text import visible

    if options.show < 0:
        raise UserError(f"--show must be 0 or more, not {options.show}.")
    console = Terminal(wide=True)
    with testbed_from_options(options).open(Context()) as opened:
        testbed = require_testbed(opened)
        if options.json:
            records = {
                split: dict(zip(RECORD_KINDS, row, strict=True)) for split, row in count_records(testbed).items()
            }
            prompts = [dataclasses.asdict(prompt) for prompt in list(testbed.prompts("train"))[: options.show]]
            print_json({"testbed": testbed.name, "records": records, "notes": testbed.notes, "prompts": prompts})
            return
        table = Table("split", *RECORD_KINDS)
        for split, counts in count_records(testbed).items():
            table.add_row(split, *("-" if count is None else f"{count:,}" for count in counts))
        console.print(table)
        for note in testbed.notes:
            console.print(Text(f"note: {note}"))
        for prompt in list(testbed.prompts("train"))[: options.show]:
            console.print(Rule(Text(f"{prompt.id}  {prompt.level}")), width=min(console.width, 100))
            for turn in prompt.turns:
                console.print(Text(f"{turn.role}: {visible(turn.content)}"))


DATA_SHOW_COMMAND = CliCommand(
    "data show", "print how many records a testbed has, and a few prompts", _add_options, _run, parts=("testbed",)
)
