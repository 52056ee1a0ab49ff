"""Checks before any training that a study can run. The check opens each testbed, model, reward and evaluator of the
runs once."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from preflab.arm.check import ArmChecker
from preflab.arm.memory import MemoryEstimator
from preflab.arm.spec import STAGES
from preflab.errors import UserError
from preflab.evaluation.pairwise import DATA_CHOSEN
from preflab.spec import Context
from preflab.study.directory import refuse_other_study
from preflab.study.plan import planned_runs
from preflab.study.runner import is_done
from preflab.study.spec import Study
from preflab.testbeds.base import read_rows, require_testbed


def check_study(study: Study, directory: Path, *, fresh: bool = False) -> None:
    """Checks that every unfinished run of a study can start. `fresh`: whether the runs in the directory will be
    replaced.

    Raises `UserError` if the directory belongs to another study. Also raises `UserError` if the data, the evaluator,
    the reward, the judge or the starting model of a stage or arm cannot be opened, or lacks something that the run
    needs. Only the runs of the first seed are checked, because the runs of the other seeds use the same data and
    models.
    """
    if not fresh:
        refuse_other_study(study, directory)
    runs = [
        run for run in planned_runs(study, directory) if run.seed == study.first_seed and (fresh or not is_done(run))
    ]
    with ExitStack() as stack:
        checker = ArmChecker(directory / f"seed-{study.first_seed}" / STAGES, stack)
        memory = make_memory_estimator(study)
        for run in runs:
            memory.refuse_too_large(run.spec)
            checker.check(run.spec)
        check_chosen_answers(study, stack)


def make_memory_estimator(study: Study) -> MemoryEstimator:
    """Returns the estimator of the memory of a study's runs."""
    return MemoryEstimator({name: stage.model or study.model for name, stage in study.stages.items()})


def check_chosen_answers(study: Study, stack: ExitStack) -> None:
    """Checks the pairings that compare an arm with the chosen answers in the data (`data:chosen`). Raises `UserError`
    if the study has such a pairing and the test split has no preference pairs, because there are then no chosen
    answers."""
    places = [
        name
        for name, pairing in study.pairwise.items()
        if any(second == DATA_CHOSEN for _, second in pairing.pairs_among(study.arms))
    ]
    if not places:
        return
    testbed = require_testbed(stack.enter_context(study.testbed.open(Context())))
    if not read_rows(testbed.preferences, "test"):
        raise UserError(
            f"`pairwise.{places[0]}` compares with {DATA_CHOSEN!r}, the chosen answers in the data, but the test split of "
            f"{testbed.name} has no pairs. Name an arm instead of {DATA_CHOSEN!r}, or add pairs to the test split."
        )
