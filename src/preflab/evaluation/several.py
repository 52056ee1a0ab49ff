"""Reads and writes the named evaluators of a study, and determines the names of the evaluators' measures. Does not
import torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, TypeAdapter

from preflab.errors import UserError, nearest
from preflab.evaluation import EVALUATORS
from preflab.evaluation.base import EvaluatorSpec
from preflab.evaluation.measure import ALWAYS_MEASURED, Measure
from preflab.evaluation.settings import Evaluation
from preflab.fields import Name
from preflab.spec import Spec

_PAIRS = TypeAdapter(list[tuple[Name, Any]])


def _parsed(value: Any) -> dict[str, EvaluatorSpec]:
    """Reads evaluators from a mapping from names to specs, or from a list of pairs of name and spec. Returns a
    mapping from names to specs."""
    evaluators: dict[str, EvaluatorSpec] = {}
    for name, spec in _PAIRS.validate_python([*value.items()] if isinstance(value, Mapping) else value):
        if name in evaluators:
            raise UserError(f"`evaluators`: the name {name!r} occurs twice. Give each evaluator a different name.")
        evaluators[name] = EVALUATORS.parse(spec)
    return evaluators


def _dumped(evaluators: Mapping[str, Spec]) -> list[list[Any]]:
    """Returns evaluators as a list of pairs of name and spec. Files are written with sorted keys, so a mapping would
    lose the order of the evaluators."""
    return [[name, EVALUATORS.dump(spec)] for name, spec in evaluators.items()]


Evaluators = Annotated[dict[str, Any], BeforeValidator(_parsed), PlainSerializer(_dumped)]
"""The type of a field whose value is an ordered mapping from names to evaluators."""


def named_evaluators(data: Any) -> Any:
    """Returns a spec's data with `evaluator` replaced by `evaluators`. `evaluator: SPEC` is short for
    `evaluators: {KIND: SPEC}`, and `evaluator: null` means no evaluators."""
    if not isinstance(data, Mapping) or "evaluator" not in data:
        return data
    if "evaluators" in data:
        raise UserError("Both `evaluators` and `evaluator` are given. Remove one of them.")
    rest = {key: value for key, value in data.items() if key != "evaluator"}
    if data["evaluator"] is None:
        return rest | {"evaluators": {}}
    spec = EVALUATORS.parse(data["evaluator"])
    return rest | {"evaluators": {spec.kind_name: spec}}


def measure_prefixes(evaluators: Iterable[str]) -> dict[str, str]:
    """Returns a prefix for each evaluator. In results, the names of the evaluator's measures begin with this prefix.
    The prefix is '' for the first evaluator, and `NAME/` for every other evaluator."""
    return {name: f"{name}/" if place else "" for place, name in enumerate(evaluators)}


def measures_by_evaluator(
    evaluators: Mapping[str, EvaluatorSpec], evaluation: Evaluation
) -> dict[str, tuple[Measure, ...]]:
    """Returns the measures of each evaluator, under the names that are used in results. The first evaluator's measures
    keep their names. The measures of every other evaluator get the evaluator's name as a prefix (`NAME/MEASURE`).

    Raises `UserError` if an evaluator declares no measure, if two measures have the same name, or if a measure has a
    name in `ALWAYS_MEASURED`. Also raises `UserError` if the first evaluator is a `PolicyEvaluator`."""
    measures: dict[str, tuple[Measure, ...]] = {}
    prefixes = measure_prefixes(evaluators)
    for name, spec in evaluators.items():
        if spec.of_policy and not measures:
            raise UserError(
                f"The evaluator {name!r} measures policies on its own items. It therefore cannot choose temperatures and "
                "checkpoints. List it after an evaluator that grades answers to the testbed's prompts."
            )
        declared = spec.measures(evaluation)
        if not declared:
            raise UserError(f"The evaluator {name!r} does not declare a measure. Declare at least one measure.")
        prefix = prefixes[name]
        measures[name] = tuple(
            each.model_copy(update={"name": prefix + each.name, "label": prefix + each.label}) for each in declared
        )
    known: set[str] = set()
    for evaluator, name in ((evaluator, each.name) for evaluator, row in measures.items() for each in row):
        if name in ALWAYS_MEASURED:
            raise UserError(
                f"The evaluator {evaluator!r} declares the measure {name!r}, but preflab itself measures {name!r} for every "
                f"policy. Give the measure a name other than {', '.join(ALWAYS_MEASURED)}."
            )
        if name in known:
            raise UserError(f"Two measures are called {name!r}. Rename the measure of one evaluator.")
        known.add(name)
    return measures


def evaluator_of(evaluators: Mapping[str, EvaluatorSpec], evaluation: Evaluation, headline: str) -> str:
    """Returns the name of the evaluator that measures the headline metric. If `headline` is '', returns the name of the
    first evaluator. Raises `UserError` if no evaluator measures the headline metric, or if the evaluator that measures
    it is a `PolicyEvaluator`. Also raises `UserError` if higher is not better for the headline metric or for the first
    measure of its evaluator."""
    measures = measures_by_evaluator(evaluators, evaluation)
    by_name = {each.name: (name, each) for name, row in measures.items() for each in row}
    headline = headline or next(iter(by_name))
    if headline not in by_name:
        raise UserError(f"`headline` is {headline!r}, which is not measured.{nearest(headline, by_name)}")
    name, decides = by_name[headline]
    if evaluators[name].of_policy:
        raise UserError(
            f"`headline` is {headline!r}, which is not measured on the testbed's prompts. The report shows this measure "
            "even if it is not the headline. Name another measure as the headline."
        )
    chooses = measures[name][0]
    if chooses != decides:
        refuse_unless_higher(
            decides, f"it is the headline, which decides the study ({chooses.name!r} chooses temperatures)"
        )
    refuse_as_choice(chooses, name)
    return name


def explain_choice(headline: str, chooses: str, evaluator: str, *, chosen: str) -> str:
    """Returns a caveat for a study in which another measure than the headline chooses checkpoints or temperatures.
    `chooses`: the measure that chooses. `chosen`: a noun for the message, naming the chosen objects, such as
    "checkpoints"."""
    return (
        f"The headline is {headline}, but {chooses} chose the {chosen}, as the first measure of the evaluator {evaluator}. "
        "The choice was made on the validation split, by the same rule for every arm. Another choice could give an arm a "
        f"higher {headline}."
    )


def refuse_as_choice(measure: Measure, evaluator: str) -> None:
    """Raises `UserError` unless higher is better for the first measure of the evaluator that chooses temperatures and
    checkpoints."""
    refuse_unless_higher(
        measure,
        f"it chooses temperatures and checkpoints, because it is the first measure of the evaluator {evaluator!r}",
    )


def refuse_unless_higher(measure: Measure, role: str) -> None:
    """Raises `UserError` unless higher is better for this measure. `role`: a clause for the message about the use of
    the measure, such as "it chooses temperatures and checkpoints"."""
    if measure.better != "higher":
        raise UserError(
            f"The measure {measure.name!r} does not declare that higher is better, but {role}. "
            'Declare it with `better="higher"`, measure its negative if lower is better, or name another measure.'
        )
