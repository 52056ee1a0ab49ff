"""Chooses the temperature at which a policy answers: the temperature with the policy's best score on the validation
split."""

from __future__ import annotations

from functools import partial

from preflab.evaluation.bench import AnyPolicy, Bench
from preflab.evaluation.grading import Graded, draw
from preflab.evaluation.result import TemperatureChoice
from preflab.evaluation.settings import Evaluation
from preflab.sampling.inference import Inference
from preflab.train import faults


def choose_temperature(bench: Bench, policy: AnyPolicy, inference: Inference) -> TemperatureChoice:
    """Chooses the temperature at which the policy answers. Returns it with the policy's scores on the validation split.
    Does not use test problems, so tuning is allowed to use these scores."""
    tried = try_temperatures(bench, policy, inference)
    grid = {temperature: graded.score() for temperature, graded in tried.items()}
    faults.pass_point("evaluation")
    declared = list_temperatures(bench.spec, inference)
    best = max(grid, key=lambda key: grid[key], default=1.0)
    return TemperatureChoice(
        temperature=declared[0] if len(declared) == 1 else best,
        validation={str(key): score for key, score in grid.items()},
        validation_by_problem=tried[best].scores_by_problem() if tried else {},
    )


def list_temperatures(spec: Evaluation, inference: Inference) -> tuple[float, ...]:
    """Returns the candidate temperatures of a policy. These are the temperatures of the settings. Best-of-n needs
    different samples for a prompt, so it uses temperature 1 in place of greedy decoding (temperature 0)."""
    several = (temperature or 1.0 for temperature in spec.temperatures)
    return spec.temperatures if inference.n == 1 else tuple(dict.fromkeys(several))


def try_temperatures(bench: Bench, policy: AnyPolicy, inference: Inference) -> dict[float, Graded]:
    """Returns graded answers to the validation prompts, by temperature. If there are several candidate temperatures,
    returns answers at each of them. If there is only one candidate, returns answers at temperature 1, even if the
    candidate is another temperature. Tuning then uses the score at temperature 1. Checkpoints are always chosen at
    temperature 1. Returns an empty mapping if the data have no validation split."""
    spec, declared = bench.spec, list_temperatures(bench.spec, inference)
    if not bench.prompts("validation", 1):
        return {}
    draws = partial(draw, bench, policy, "validation", spec.prompts, spec.validation_samples, inference=inference)
    return {temperature: draws(temperature, aloud=True) for temperature in (declared if len(declared) > 1 else (1.0,))}
