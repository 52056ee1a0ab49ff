"""Summarises graded answers: the measures of a split, and the scores and measures of its problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from preflab.evaluation.base import GradedPrompt, PolicyEvaluator, Summary
from preflab.evaluation.bench import AnyPolicy, Bench, OpenEvaluator
from preflab.evaluation.grading import Graded, draw_to_measure
from preflab.evaluation.measure import VALIDATION
from preflab.evaluation.measures import distinct_n
from preflab.evaluation.result import ProblemScores, SplitSummary
from preflab.sampling.inference import Inference
from preflab.types import Split


def summarise_split(
    bench: Bench, policy: AnyPolicy, graded: Graded, temperature: float, inference: Inference
) -> SplitSummary:
    """Returns the summary of graded answers to the test problems. If the setting `validation` is true, also measures
    the policy on the validation split at the same temperature, and adds these measures under names such as
    `validation/pass@1`."""
    summary = summarise_answers(bench, graded, "test")
    if bench.spec.validation:
        held = draw_to_measure(bench, policy, "validation", temperature, inference)
        measures = summarise_answers(bench, held, "validation").measures
        added = {VALIDATION + name: value for name, value in measures.items() if name != "score"}
        summary = summary.with_measures(added)
    return summary


def summarise_answers(bench: Bench, graded: Graded, split: Split) -> SplitSummary:
    """Summarises graded answers to the prompts of a split. Returns the measures, the scores and measures of each
    problem, and the number of answers with each `Verdict.outcome`."""
    texts = [completion.text for completion in graded.completions[:: graded.copies]]
    measures = graded.measures() | {"distinct-2": distinct_n(texts, 2)}
    own: list[dict[str, float]] = [{} for _ in graded.prompts]
    for place, each in enumerate(bench.evaluators):
        if isinstance(each.evaluator, PolicyEvaluator):
            continue
        grades = graded.grade_by(each, split) if place else graded.grades
        for kept, values in zip(own, prompt_values(bench, each, graded.by_prompt(grades)), strict=True):
            kept |= values
    measures |= {name: sum(values[name] for values in own) / len(own) for name in own[0]}
    problems = {
        row.prompt.id: ProblemScores(
            level=row.prompt.level, scores=[grade.score for grade in row.grades], measures=values
        )
        for row, values in zip(graded.by_prompt(), own, strict=True)
    }
    outcomes = Counter(grade.verdict.outcome for grade in graded.grades)
    return SplitSummary(measures=measures, problems=problems, outcomes=dict(outcomes))


def prompt_values(bench: Bench, each: OpenEvaluator, rows: Sequence[GradedPrompt]) -> list[dict[str, float]]:
    """Returns one mapping for each prompt. It maps the name of each measure of one evaluator to the measure's value.
    Each name is the name that the measure has in results."""
    values = each.summarise(rows, Summary(each.measures, bench.spec, bench.seed_for))
    return [{each.prefix + name: value for name, value in row.items()} for row in values]
