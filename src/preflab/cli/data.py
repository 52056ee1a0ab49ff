"""`preflab data`: what a testbed holds, split by split, with prompts to read."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from preflab.errors import UserError
from preflab.report.text import visible
from preflab.spec import Context
from preflab.testbeds import TESTBEDS

SPLITS = ("train", "validation", "test")


def show_data(options: argparse.Namespace) -> None:
    """Counts of each split and the first prompts of the training split."""
    if options.show < 0:
        raise UserError(f"--show must be 0 or more, not {options.show}.")
    wanted: dict[str, Any] = {"kind": options.testbed}
    if options.data is not None:
        wanted["data"] = options.data
    console = Console()
    with TESTBEDS.parse(wanted).open(Context()) as testbed:
        table = Table("split", "prompts", "demonstrations", "preferences")
        for split in SPLITS:
            counts = [count(getattr(testbed, name), split) for name in ("prompts", "demonstrations", "preferences")]
            table.add_row(split, *counts)
        console.print(table)
        for note in getattr(testbed, "notes", ()):
            console.print(Text(f"note: {note}"))
        for prompt in list(testbed.prompts("train"))[: options.show]:
            console.rule(Text(f"{prompt.id}  {prompt.level}"))
            for turn in prompt.turns:
                console.print(Text(f"{turn.role}: {visible(turn.content)}"))


def count(rows: Any, split: str) -> str:
    """How many records a split has; a dash where the testbed has none of this kind there."""
    try:
        return f"{len(rows(split)):,}"
    except UserError:
        return "-"
