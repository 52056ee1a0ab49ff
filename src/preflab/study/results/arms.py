"""Makes the parts of a study's results that describe each arm and each run: measurements, settings, labels and
compute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from preflab.analysis import record
from preflab.analysis.curves import curve, frontier
from preflab.analysis.gather import FinishedRun
from preflab.arm.result import TrainedResult
from preflab.arm.spec import Arm, describe_server, is_served, is_trained_elsewhere
from preflab.spec import Spec
from preflab.study.spec import Study
from preflab.train.finished import read_result


def arm_result(
    study: Study,
    runs: Sequence[FinishedRun],
    measures: Iterable[record.MeasuredValue],
    directory: Path,
    *,
    collapse: record.Collapse | None,
) -> record.ArmResult:
    job = study.arms[runs[0].planned.name]
    return record.ArmResult(
        name=runs[0].planned.name,
        method=runs[0].result.method,
        description=job.description,
        baseline=job.baseline,
        origin=name_origin(runs[0].planned.spec),
        inference_cost=next((run.evaluation.inference.n for run in runs if not run.diverged), 1),
        differences=() if job.method is None else tuple(setting_differences(job.method, type(job.method)())),
        measures=tuple(measures),
        runs=tuple(run_result(study, run, directory) for run in runs),
        collapse=collapse,
    )


def name_origin(arm: Arm) -> str:
    """Returns the source of a policy that was trained outside the study; '' if the study trained the policy."""
    if is_served(arm):
        return describe_server(arm)
    return (arm.policy or "") if is_trained_elsewhere(arm) else ""


def run_result(study: Study, run: FinishedRun, directory: Path) -> record.RunResult:
    names = {"score": study.score}
    return record.RunResult(
        seed=run.seed,
        directory=str(run.planned.directory.relative_to(directory)),
        metrics={names.get(name, name): value for name, value in run.measures("chosen").items()},
        metrics_unit={names.get(name, name): value for name, value in run.measures("unit").items()},
        spent=spent_by(study, run),
        temperature=None if run.diverged else run.evaluation.temperature,
        checkpoint=None if run.result.best is None else run.result.best.best_step or None,
        diverged=run.diverged,
        note=run.result.diverged or "",
        curve=tuple(curve(run)),
        frontier=tuple(frontier(run)),
    )


def spent_by(study: Study, run: FinishedRun) -> record.Spent:
    """Returns the labels, the compute and the tokens that were used by a run and by the stages that the run needs. For
    a policy that the study did not train, these numbers are unknown.

    If the reward or the cost of a stage or arm is not a learned model, the labels of this stage or arm are counted as
    calls of the reward. All other labels are counted as labels of the data. The field `updates` counts the updates of
    the run itself, without the updates of stages. It comes from the last record of the run."""
    job = study.arms[run.planned.name]
    tokens = None if run.diverged else run.evaluation.inference.tokens_an_answer
    size = run.result.parameters
    answer = None if tokens is None or size is None else 2.0 * size * tokens
    if is_trained_elsewhere(job):
        return record.Spent(flops_an_answer=answer)
    labels = [(job, run.result.counts.labels)]
    labels += [(study.stages[need.name], read_result(need, TrainedResult).counts.labels) for need in run.planned.needs]
    calls = sum(count for part, count in labels if any(spec and spec.buys_labels for spec in (part.reward, part.cost)))
    return record.Spent(
        labels=run.used.labels - calls,
        reward_calls=calls,
        updates=run.steps[-1].get("updates") if run.steps else 0,
        flops_an_answer=answer,
        **run.used.model_dump(include={"flops", "sampled_tokens", "trained_tokens"}),
    )


def setting_differences(spec: Spec, default: Spec, prefix: str = "") -> Iterator[record.SettingDifference]:
    """Yields each setting in which a method's spec differs from the defaults, with the name of the setting's field. A
    nested field is named with a dot."""
    before = dict(default)
    for field, new in spec:
        old = before[field]
        if isinstance(new, Spec) and type(new) is type(old):
            yield from setting_differences(new, old, f"{prefix}{field}.")
        elif old != new:
            plain = (default.model_dump(mode="json")[field], spec.model_dump(mode="json")[field])
            yield record.SettingDifference(field=prefix + field, default=plain[0], value=plain[1])
