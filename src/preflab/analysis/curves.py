"""Makes training curves and the reward-KL frontier from the records of a run's steps. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from preflab.analysis.gather import FinishedRun
from preflab.analysis.record import CurvePoint, FrontierPoint
from preflab.types import VERDICT

CURVE_NAMES = {
    "validation/score": "validation",
    "reward": "reward",
    "kl": "reference_kl",
    "loss": "loss",
    "accuracy": "accuracy",
}
"""The names in a step's record, and the names of the curves that they make."""
CURVE_POINTS = 60


def curve(run: FinishedRun) -> Iterator[CurvePoint]:
    """The training curve: every look at the validation split, and at most `CURVE_POINTS` of the other steps."""
    stride = max(1, len(run.steps) // CURVE_POINTS)
    before = {name: run.used[name] - run.result["counts"][name] for name in ("flops", "labels")}
    for index, step in enumerate(run.steps):
        if index % stride and "validation/score" not in step:
            continue
        metrics = {
            label: step.get(name) for name, label in CURVE_NAMES.items() if name in step or label == "validation"
        }
        yield CurvePoint(
            step=step["step"],
            labels=step["labels"] + before["labels"],
            flops=step["flops"] + before["flops"],
            tokens=step["trained_tokens"],
            metrics=metrics | {name: value for name, value in step.items() if name.startswith(VERDICT)},
        )


def frontier(run: FinishedRun) -> Iterator[FrontierPoint]:
    """Score against KL to the start: at each look where the run measured KL, and at the end."""
    for step in run.steps:
        if "validation/score" in step and "validation/kl" in step:
            yield FrontierPoint(step=step["step"], kl=step["validation/kl"], score=step["validation/score"])
    if not run.diverged:
        unit = run.evaluation["unit"]
        yield FrontierPoint(
            step=run.steps[-1]["step"] if run.steps else 0,
            kl=unit["kl"]["estimate"],
            score=unit["measures"]["score"],
            bound=run.evaluation["inference"]["n"] > 1,
        )
