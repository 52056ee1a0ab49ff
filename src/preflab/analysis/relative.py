"""Computes relative measures and adds them to the results of a study's runs. A relative measure is the difference between
a run's value and the value of a reference arm's run with the same seed. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from preflab.analysis.gather import DECODINGS, Arms, FinishedRun, mean
from preflab.evaluation.base import EvaluatorSpec
from preflab.evaluation.measure import Measure
from preflab.evaluation.relative import RelativeMeasure
from preflab.evaluation.result import ProblemScores, SplitSummary
from preflab.evaluation.several import measure_prefixes


def relative_measures(evaluators: Mapping[str, EvaluatorSpec]) -> list[RelativeMeasure]:
    """Returns the relative measures of all evaluators. If an evaluator has a prefix, the names of its relative measures
    begin with this prefix, like the names of its other measures in the results."""
    prefixes = measure_prefixes(evaluators)
    return [
        RelativeMeasure(_prefixed(relative, prefixes[name]), prefixes[name] + relative.of, relative.reference)
        for name, spec in evaluators.items()
        for relative in spec.relative
    ]


def _prefixed(relative: RelativeMeasure, prefix: str) -> Measure:
    names = {"name": prefix + relative.measure.name, "label": prefix + relative.measure.label}
    return relative.measure.model_copy(update=names)


def lacks_reference(arms: Arms, relative: RelativeMeasure) -> bool:
    """Returns True if the relative measure cannot be computed for some run, because the reference arm has no run with
    the same seed. Diverged runs are ignored."""
    known = {run.seed for run in arms.get(relative.reference, ()) if not run.diverged}
    return any(run.seed not in known for runs in arms.values() for run in runs if not run.diverged)


def with_relative(arms: Arms, measures: Sequence[RelativeMeasure]) -> dict[str, list[FinishedRun]]:
    """Returns copies of the runs of all arms, with the relative measures added. Each run gets the value of each relative
    measure on every problem, and the mean of these values. A diverged run is not changed."""
    references = {
        (relative.reference, run.seed): run
        for relative in measures
        for run in arms[relative.reference]
        if not run.diverged
    }
    return {name: [_extended(run, measures, references) for run in runs] for name, runs in arms.items()}


def _extended(
    run: FinishedRun, measures: Sequence[RelativeMeasure], references: Mapping[tuple[str, int], FinishedRun]
) -> FinishedRun:
    if run.diverged:
        return run
    summaries: dict[str, SplitSummary] = {}
    for decoding in DECODINGS:
        summary = run.evaluation.at(decoding)
        for relative in measures:
            theirs = references[relative.reference, run.seed].problems(decoding)
            summary = _added(summary, relative, theirs)
        summaries[decoding] = summary
    evaluation = run.evaluation.model_copy(update=summaries)
    return replace(run, result=run.result.model_copy(update={"evaluation": evaluation}))


def _added(summary: SplitSummary, relative: RelativeMeasure, theirs: Mapping[str, ProblemScores]) -> SplitSummary:
    """Returns `summary` with a relative measure added. `theirs`: the problem scores of the reference arm's run."""
    name, of = relative.measure.name, relative.of
    values = {problem: row.measures[of] - theirs[problem].measures[of] for problem, row in summary.problems.items()}
    problems = {
        problem: row.model_copy(update={"measures": {**row.measures, name: values[problem]}})
        for problem, row in summary.problems.items()
    }
    return summary.model_copy(update={"problems": problems}).with_measures({name: mean([*values.values()])})


def missing_words(measures: Sequence[RelativeMeasure]) -> Iterator[str]:
    """Yields a caveat for each of `measures`. `measures`: the relative measures that could not be computed, because runs
    of the reference arm are missing."""
    for relative in measures:
        yield (
            f"{relative.measure.name} is not shown, because it is relative to the arm {relative.reference}, and this arm is "
            "not measured under every seed."
        )
