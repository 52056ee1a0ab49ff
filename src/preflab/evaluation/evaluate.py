"""Evaluates a policy on the test split at two temperatures: the temperature in the settings, and temperature 1.

Temperature 0 means greedy decoding. If the settings give several temperatures, each policy uses the temperature with
the best score on the validation split. If this temperature is 1, the two temperatures are equal, and the policy is
evaluated once. The number of samples is the same for every policy. The scores of each problem are saved, so that arms
can be compared problem by problem.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

from preflab.evaluation.base import GradedPrompt
from preflab.evaluation.bench import AnyPolicy, Bench
from preflab.evaluation.divergence import divergence
from preflab.evaluation.grading import draw, draw_to_measure
from preflab.evaluation.own_items import measure_on_own_items
from preflab.evaluation.result import AnsweredBy, Measurements, ShownAnswer, UnitSummary
from preflab.evaluation.summary import summarise_split
from preflab.evaluation.temperature import choose_temperature
from preflab.models.lm import LanguageModel
from preflab.sampling.inference import Inference

KEPT_ANSWERS = 8
"""The largest number of answers to one prompt in the file `ANSWERS`."""


class Evaluated(NamedTuple):
    """The measurements of a policy, and the policy's answers that are written to the file `ANSWERS` for pairwise
    evaluators."""

    measurements: Measurements
    answers: list[dict[str, Any]]


def look(bench: Bench, policy: LanguageModel) -> dict[str, float]:
    """Evaluates a policy quickly during training. Grades the policy's answers to the first validation prompts, sampled
    at temperature 1. Also measures KL if there is a reference model."""
    spec = bench.spec
    graded = draw(bench, policy, "validation", spec.look_prompts, spec.look_samples, 1.0, Inference())
    kl = divergence(bench, policy, graded, Inference()).estimate
    return graded.measures() if kl is None else graded.measures() | {"kl": kl}


def evaluate(bench: Bench, policy: AnyPolicy, inference: Inference) -> Evaluated:
    """Measures a trained policy on the test split. Returns all measurements of the policy that the report shows."""
    spec = bench.spec
    choice = choose_temperature(bench, policy, inference)
    unit = chosen = draw_to_measure(bench, policy, "test", 1.0, inference)
    unit_summary = chosen_summary = summarise_split(bench, policy, unit, 1.0, inference)
    if choice.temperature != 1.0:
        chosen = draw_to_measure(bench, policy, "test", choice.temperature, inference)
        chosen_summary = summarise_split(bench, policy, chosen, choice.temperature, inference)
    own_items = measure_on_own_items(bench, policy)
    means = {name: sum(items.values()) / len(items) for name, items in own_items.items()}
    rows, kept = chosen.by_prompt(), min(KEPT_ANSWERS, spec.samples // chosen.copies)
    measurements = Measurements(
        temperature=choice.temperature,
        validation=choice.validation,
        inference=AnsweredBy(**inference.model_dump(), tokens_an_answer=chosen.tokens_an_answer),
        chosen=chosen_summary.with_measures(means),
        unit=UnitSummary(**dict(unit_summary.with_measures(means)), kl=divergence(bench, policy, unit, inference)),
        samples=[first_answer(row) for row in rows[: spec.shown]],
    )
    answers = [{"problem": row.prompt.id, **asdict(each)} for row in rows for each in row.answers[:kept]]
    return Evaluated(measurements.model_copy(update={"elsewhere": own_items} if own_items else {}), answers)


def first_answer(row: GradedPrompt) -> ShownAnswer:
    """Returns a problem's first answer in the form that the report shows."""
    prompt, answer, grade = row.prompt, row.answers[0], row.grades[0]
    return ShownAnswer(
        problem=prompt.id,
        prompt="\n\n".join(turn.content for turn in prompt.turns),
        level=prompt.level,
        **asdict(answer),
        score=grade.score,
        outcome=grade.verdict.outcome,
        passed=list(grade.verdict.passed),
        detail=dict(grade.verdict.detail),
    )
