"""Formats the summary that `train` and `evaluate` print about a finished run."""

from __future__ import annotations

from pathlib import Path

from preflab.arm.result import TrainedResult
from preflab.arm.spec import Arm
from preflab.evaluation.result import Measurements
from preflab.evaluation.several import measures_by_evaluator


def summarize_run(result: TrainedResult, directory: Path, first: str) -> str:
    """Summarizes a finished run in a few lines. `result`: the content of its `result.json`. `first`: the name of the
    measure whose mean is the score; '' if the run has no evaluator."""
    if result.diverged is not None:
        advice = f"Lower the learning rate, or check the data. See {directory}."
        return f"{result.name} diverged: {result.diverged} {advice}"
    lines = [f"{result.name}: done, in {directory}"]
    evaluation = result.evaluation
    if isinstance(evaluation, Measurements):
        # If the chosen temperature is 1, `chosen` and `unit` have the same key, and only one line is printed.
        summaries = {evaluation.temperature: evaluation.chosen, 1.0: evaluation.unit}
        for temperature, summary in summaries.items():
            lines.append(f"  temperature {temperature:g}: {_join(_score_first(summary.measures, first))}")
        kl = evaluation.unit.kl
        if kl.estimate is not None:
            lines.append(f"  KL to the start: {kl.estimate:.3f} nats a response ({kl.estimator})")
        if result.parameters is None:  # a served policy: its notices say what is not known
            lines += [f"  {notice}" for notice in result.notices]
    elif "held_out" in result.model_fields_set:
        for split, measures in (("validation", result.validation), ("test", result.held_out)):
            numbers = {} if measures is None else measures.numbers
            lines += [f"  held out ({split} split): {_join(numbers)}"] if numbers else []
    else:
        last = {name: value for name, value in result.last.items() if "validation/" in name}
        lines += [f"  {_join(last)}"] if last else []
    return "\n".join(lines)


def score_name(arm: Arm) -> str:
    """Returns the name of the measure whose mean is the score of an arm; '' if the arm has no evaluator."""
    measures = measures_by_evaluator(arm.evaluators, arm.evaluation)
    return next((measures[name][0].name for name in arm.evaluators_in_turn), "")


def _score_first(measures: dict[str, float], first: str) -> dict[str, float]:
    """Returns the measures in the order in which they are printed: `score` before all others. `first`: the name of
    another measure. If the value of this measure equals the score after rounding, one entry with the name `first`
    replaces both."""
    score = measures["score"]
    others = {name: value for name, value in measures.items() if name != "score"}
    same = first in others and f"{others[first]:.3f}" == f"{score:.3f}"
    return {first if same else "score": score} | others


def _join(measures: dict[str, float]) -> str:
    return "  ".join(f"{name.removeprefix('validation/')} {value:.3f}" for name, value in measures.items())
