"""`preflab sandbox check`: describes the protections of the sandbox on this machine, then attacks each of them."""

from __future__ import annotations

import argparse

from preflab.cli.command import CliCommand
from preflab.cli.options import add_json_option, print_json


def _run(options: argparse.Namespace) -> int:
    """Attacks the sandbox and returns the exit code: 1 if an attack succeeds, otherwise 0."""
    from preflab.sandbox.bubblewrap import Bubblewrap
    from preflab.sandbox.check import attack_walls, describe_walls
    from preflab.terminal import Terminal

    walls, console = Bubblewrap(), Terminal(soft_wrap=True)
    if options.json:
        results = list(attack_walls(walls))
        attacks = [{"attack": row.attack, "held": row.held, "end": row.end} for row in results]
        print_json({"walls": dict(describe_walls(walls)), "attacks": attacks})
        return 0 if all(row.held for row in results) else 1
    for name, words in describe_walls(walls):
        console.print(f"[bold]{name}[/bold]: {words}", highlight=False)
    fallen = 0
    for result in attack_walls(walls):
        fallen += not result.held
        mark = "held" if result.held else "[bold red]FELL[/bold red]"
        console.print(f"{mark}  {result.attack}  ({result.end})", highlight=False)
    console.print(f"{fallen} attacks got through." if fallen else "No attack got through.")
    return 1 if fallen else 0


SANDBOX_CHECK_COMMAND = CliCommand(
    "sandbox check", "attack the sandbox that programs are judged in", add_json_option, _run
)
