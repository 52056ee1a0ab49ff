"""Runs a study's tasks as `preflab study` does, with stubs for arms: `python drive.py STUDY DIRECTORY`.

Prints the failures and exits as the command does: 0 done, 1 failed, 2 the user's mistake.
"""

from __future__ import annotations

import sys
from pathlib import Path

from preflab.errors import UserError
from preflab.study import runner
from preflab.study.spec import load_study, tasks
from preflab.study.watch import Watch

sys.path.insert(0, str(Path(__file__).parent))
import stub


def main(study: str, directory: str) -> int:
    found = list(tasks(load_study(study), Path(directory)))
    try:
        outcome = runner.run_tasks(found, memory_gb=0.01, watch=Watch(len(found), quiet=True), run=stub.main)
    except UserError as error:
        print(f"preflab: {error}")
        return 2
    print("\n".join(outcome.failures.values()))
    return 0 if outcome.complete else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
