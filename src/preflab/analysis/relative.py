"""Adds to the results of a study's runs the measures that are relative to a reference arm. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from preflab.analysis.gather import DECODINGS, Arms, FinishedRun, mean
from preflab.evaluation.base import EvaluatorSpec
from preflab.evaluation.measure import Measure
from preflab.evaluation.relative import RelativeMeasure
from preflab.evaluation.several import measure_prefixes


def relative_measures(evaluators: Mapping[str, EvaluatorSpec]) -> list[RelativeMeasure]:
    """Returns the relative measures of all evaluators, under the names that the results use: with the evaluator's
    prefix if it has one."""
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
    """Checks whether there is a seed under which another arm has a measured run but the reference arm does not."""
    known = {run.seed for run in arms.get(relative.reference, ()) if not run.diverged}
    return any(run.seed not in known for runs in arms.values() for run in runs if not run.diverged)


def with_relative(arms: Arms, measures: Sequence[RelativeMeasure]) -> dict[str, list[FinishedRun]]:
    """Returns the runs. Each run now also has the values of these measures on every problem, and their means. A
    diverged run gets no values."""
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
    evaluation = dict(run.evaluation)
    for decoding in DECODINGS:
        summary = dict(evaluation[decoding])
        for relative in measures:
            theirs = references[relative.reference, run.seed].problems(decoding)
            summary = _added(summary, relative, theirs)
        evaluation[decoding] = summary
    return replace(run, result={**run.result, "evaluation": evaluation})


def _added(summary: Mapping[str, Any], relative: RelativeMeasure, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the summary of a run's answers with one more measure. `theirs`: the problems of the reference arm."""
    name, of = relative.measure.name, relative.of
    problems = {
        problem: {**row, "measures": {**row["measures"], name: row["measures"][of] - theirs[problem]["measures"][of]}}
        for problem, row in summary["problems"].items()
    }
    values = [row["measures"][name] for row in problems.values()]
    return {**summary, "problems": problems, "measures": {**summary["measures"], name: mean(values)}}


def missing_words(measures: Sequence[RelativeMeasure]) -> Iterator[str]:
    """Yields a caveat for each measure that cannot be computed."""
    for relative in measures:
        yield (
            f"{relative.measure.name} is not shown, because it is relative to the arm {relative.reference}, and this arm is "
            "not measured under every seed."
        )
