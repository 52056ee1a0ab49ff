"""Makes training curves and the reward-KL frontier from the step records of a run. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from preflab.analysis.gather import FinishedRun
from preflab.analysis.record import CurvePoint, FrontierPoint
from preflab.types import VERDICT

CURVES = ("reward", "kl", "loss", "accuracy")
"""The training metrics that the report draws as curves."""
CURVE_POINTS = 60


def curve(run: FinishedRun) -> Iterator[CurvePoint]:
    """Yields the points of a run's training curve. The curve contains all steps with an evaluation on the validation
    split, and fewer than 2 x `CURVE_POINTS` other steps, which are equally spaced."""
    stride = max(1, len(run.steps) // CURVE_POINTS)
    own = run.result.counts
    before = {"flops": run.used.flops - own.flops, "labels": run.used.labels - own.labels}
    for index, step in enumerate(run.steps):
        if index % stride and "validation/score" not in step:
            continue
        metrics = {"validation": step.get("validation/score")}
        metrics |= {"reference_kl" if name == "kl" else name: step[name] for name in CURVES if name in step}
        metrics |= {name: value for name, value in step.items() if name.startswith(VERDICT)}
        used = {name: step[name] + earlier for name, earlier in before.items()}
        yield CurvePoint(
            step=step["step"], updates=step.get("updates"), tokens=step["trained_tokens"], metrics=metrics, **used
        )


def frontier(run: FinishedRun) -> Iterator[FrontierPoint]:
    """Yields the points of a run in the reward-KL plot, each with a score and the KL to the SFT model. Each evaluation
    during training that measured the KL gives one point. The final policy gives one more point if the run did not
    diverge."""
    for step in run.steps:
        if "validation/score" in step and "validation/kl" in step:
            yield FrontierPoint(step=step["step"], kl=step["validation/kl"], score=step["validation/score"])
    if not run.diverged:
        unit, step = run.evaluation.unit, run.steps[-1]["step"] if run.steps else 0
        bound = run.evaluation.inference.n > 1
        yield FrontierPoint(step=step, kl=unit.kl.estimate, score=unit.score, bound=bound)
