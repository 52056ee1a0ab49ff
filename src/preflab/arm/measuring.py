"""Measures the policy of a run by the run's evaluators, and saves its answers."""

from __future__ import annotations

import json

from preflab.arm.spec import Arm
from preflab.evaluation.bench import AnyPolicy, Bench
from preflab.evaluation.evaluate import evaluate
from preflab.evaluation.result import TemperatureChoice
from preflab.evaluation.temperature import choose_temperature
from preflab.train.loop import Run
from preflab.train.ownership import ANSWERS, record_written


def measure_policy(arm: Arm, run: Run, bench: Bench, policy: AnyPolicy) -> TemperatureChoice:
    """Measures a policy on the test split, or only on the validation split if the run is a tuning trial. Returns the
    measurements. Writes the policy's answers to the file `ANSWERS` of the run. For a tuning trial, this file is
    empty."""
    with run.record.following_work():
        if arm.measure == "test":
            evaluation, answers = evaluate(bench, policy, arm.inference)
        else:
            evaluation, answers = choose_temperature(bench, policy, arm.inference), []
    record_written(run.directory, [ANSWERS])
    (run.directory / ANSWERS).write_text("".join(json.dumps(row) + "\n" for row in answers), encoding="utf-8")
    return evaluation
