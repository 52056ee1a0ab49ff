"""Adds descriptions of the user's own evaluators to the study's manifest, so that a report can be written without the
user's modules.

The report uses a stand-in for each of these evaluators. A stand-in is a spec that names the measures of the evaluator,
but cannot be opened.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

from pydantic import BaseModel

from preflab.arm.spec import saved_models
from preflab.errors import UserError
from preflab.evaluation import EVALUATORS, PAIRWISE_EVALUATORS
from preflab.evaluation.base import EvaluatorSpec
from preflab.evaluation.measure import Measure
from preflab.evaluation.pairwise import PairwiseEvaluatorSpec
from preflab.evaluation.settings import Evaluation
from preflab.spec import Context, HoldsModels, Registry
from preflab.study.spec import Study


class EvaluatorRecord(BaseModel):
    """The description of an evaluator for a report. `words`: the docstring of the evaluator's class. `measures`: the
    evaluator's measures. For a pairwise evaluator, this is the measure of the mean outcome. `models`: the paths of the
    evaluator's reward models."""

    words: str
    measures: tuple[Measure, ...]
    models: tuple[str, ...] = ()


class OwnEvaluators(BaseModel):
    """The records of the evaluators that the user wrote, by their names in the study."""

    evaluators: dict[str, EvaluatorRecord] = {}
    pairwise: dict[str, EvaluatorRecord] = {}


def record_own_evaluators(study: Study) -> OwnEvaluators:
    """Returns the records of the user's own evaluators in a study, which are the evaluators that preflab does not
    define."""
    evaluators = {
        name: _record(spec, spec.measures(study.evaluation))
        for name, spec in study.evaluators.items()
        if _is_own(EVALUATORS, spec)
    }
    pairwise = {
        name: _record(pairing.evaluator, (pairing.evaluator.measure,))
        for name, pairing in study.pairwise.items()
        if _is_own(PAIRWISE_EVALUATORS, pairing.evaluator)
    }
    return OwnEvaluators(evaluators=evaluators, pairwise=pairwise)


def _is_own(registry: Registry[Any], spec: HoldsModels) -> bool:
    return registry.dump(spec)["kind"] not in registry.known


def _record(spec: HoldsModels, measures: tuple[Measure, ...]) -> EvaluatorRecord:
    words = inspect.cleandoc(type(spec).__doc__ or "")
    return EvaluatorRecord(words=words, measures=measures, models=saved_models(spec))


def with_recorded_evaluators(data: Mapping[str, Any], own: OwnEvaluators) -> dict[str, Any]:
    """Returns a copy of a study's data in which a stand-in replaces each evaluator that has a record in `own`. Data
    that do not have the form of a study stay unchanged, and the parser of the study reports them later."""
    changed = dict(data)
    pairs, pairings = data.get("evaluators"), data.get("pairwise")
    if isinstance(pairs, list):
        changed["evaluators"] = [_replace_evaluator(pair, own) for pair in pairs]
    if isinstance(pairings, Mapping):
        changed["pairwise"] = {name: _replace_pairing(name, pairing, own) for name, pairing in pairings.items()}
    return changed


def _replace_evaluator(pair: Any, own: OwnEvaluators) -> Any:
    match pair:
        case [str(name), _] if name in own.evaluators:
            return [name, _stand_in(own.evaluators[name])]
        case _:
            return pair


def _replace_pairing(name: str, pairing: Any, own: OwnEvaluators) -> Any:
    if name not in own.pairwise or not isinstance(pairing, Mapping):
        return pairing
    return {**pairing, "evaluator": _pairwise_stand_in(own.pairwise[name])}


class _ReadForReport:
    """The base class of the stand-ins for evaluators and for pairwise evaluators. A stand-in names the evaluator's
    reward models, but cannot be opened."""

    record: ClassVar[EvaluatorRecord]

    def saved_models(self) -> tuple[str, ...]:
        return self.record.models

    def open(self, context: Context) -> NoReturn:
        raise UserError(
            "This study was read only to write its report, so it cannot measure. To measure, give the study file."
        )


def _stand_in(evaluator: EvaluatorRecord) -> EvaluatorSpec:
    class Recorded(_ReadForReport, EvaluatorSpec):
        record: ClassVar[EvaluatorRecord] = evaluator

        def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
            return evaluator.measures

    Recorded.__doc__ = evaluator.words
    return Recorded()


def _pairwise_stand_in(evaluator: EvaluatorRecord) -> PairwiseEvaluatorSpec:
    class Recorded(_ReadForReport, PairwiseEvaluatorSpec):
        record: ClassVar[EvaluatorRecord] = evaluator
        measure = evaluator.measures[0]

    Recorded.__doc__ = evaluator.words
    return Recorded()
