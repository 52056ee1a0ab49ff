"""What a study declared before it ran, as the report shows it: claims decided, the paper's figures, the sweep, and what is
missing of an unfinished study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from preflab.analysis.decide import Judged, judge_all
from preflab.analysis.gather import Ran
from preflab.analysis.record import results as report
from preflab.analysis.scores import Scores
from preflab.analysis.statistics import Interval
from preflab.report.text import counted
from preflab.study.spec import Study


def interval(found: Interval) -> report.Interval:
    return report.Interval(estimate=found.estimate, low=found.low, high=found.high, df=found.df)


def claims(study: Study, scores: Mapping[str, Scores], *, can_rank: bool) -> Iterator[report.Claim]:
    for judged in judge_all(study.claims, scores, can_rank=can_rank):
        yield _claim(judged)


def _claim(judged: Judged) -> report.Claim:
    claim, found = judged.claim, judged.interval
    record = report.Claim(
        **claim.model_dump(exclude={"contrast"}),
        contrast=tuple(report.Weight(arm=arm, weight=weight) for arm, weight in claim.contrast.items()),
        outcome=judged.outcome,
        reason=judged.reason,
    )
    if found is None:
        return record
    measured = {"value": interval(found), "seeds": found.seeds, "diverged": found.diverged}
    return record.model_copy(update={**measured, "preliminary": found.preliminary})


def paper(study: Study) -> report.PaperTable | None:
    return report.PaperTable(**study.paper.model_dump()) if study.paper else None


def sweep(study: Study, ran: Mapping[str, object]) -> report.Sweep | None:
    """The sweep over the arms that have finished runs."""
    found = study.sweep and study.sweep.among(ran)
    if not found:
        return None
    lines = tuple(report.Line(name=name, arms=arms) for name, arms in found.series.items())
    return report.Sweep(label=found.label, x=found.x, log=found.log, lines=lines)


def unfinished(study: Study, ran: Mapping[str, Sequence[Ran]], command: str) -> str:
    """Which arms and seeds are missing and how to go on; '' for a study that is finished."""
    missing: list[str] = []
    count = 0
    for name in study.arms:
        seeds = sorted(set(range(study.seeds)) - {run.task.seed for run in ran.get(name, ())})
        count += len(seeds)
        if len(seeds) == study.seeds:
            missing.append(f"{name} (every seed)")
        elif seeds:
            missing.append(f"{name} (seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))})")
    if not missing:
        return ""
    runs = counted(len(study.arms) * study.seeds, "run")
    way = f"To go on: {command}" if command else "To go on, give the study's command once more, with the same --output."
    return f"Unfinished: {count} of {runs} are missing, of {'; '.join(missing)}. {way}"
