"""What is missing is said before anything is trained: the parts of all runs of a study are opened once."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from preflab.arm.check import ArmChecker
from preflab.arm.spec import STAGES
from preflab.study.directory import refuse_other_study
from preflab.study.plan import planned_runs
from preflab.study.runner import is_done
from preflab.study.spec import Study


def check_study(study: Study, directory: Path, *, fresh: bool = False) -> None:
    """Raises `UserError` naming the stage or arm whose data, evaluator, reward, judge or start cannot be opened, or lack what
    it needs, and where the directory holds another study. What is done is not checked again. The seeds differ in nothing
    that is opened: the runs of the first one stand for all."""
    if not fresh:
        refuse_other_study(study, directory)
    runs = [run for run in planned_runs(study, directory) if run.seed == 0 and (fresh or not is_done(run))]
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        checker = ArmChecker(directory / "seed-0" / STAGES, Path(place), stack)
        for run in runs:
            checker.check(run.spec)
