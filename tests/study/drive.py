"""Runs a study's tasks as `preflab study` does, with stubs for arms: `python drive.py STUDY DIRECTORY`.

Prints the failures and exits as the command does: 0 done, 1 failed, 2 the user's mistake.
"""

from __future__ import annotations

import sys
from pathlib import Path

from preflab.errors import UserError
from preflab.study import runner
from preflab.study.launchers.local import LocalLauncher
from preflab.study.load import load_study
from preflab.study.plan import planned_runs
from preflab.study.watch import Watch

sys.path.insert(0, str(Path(__file__).parent))
import stub


def main(study: str, directory: str) -> int:
    planned = list(planned_runs(load_study(study), Path(directory)))
    watch = Watch(len(planned), quiet=True)
    try:
        failures = runner.run_all(planned, launcher=LocalLauncher(0.01, stub.stub_process), watch=watch)
    except UserError as error:
        print(f"preflab: {error}")
        return 2
    print("\n".join(failures.values()))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
