"""Checks that each stage of a study makes the product for which other stages, arms and evaluators use the stage. A
product is a policy, a model that scores answers, or data. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from preflab.arm.spec import STAGE, Job, saved_models
from preflab.errors import UserError
from preflab.spec import HoldsModels

POLICY, REWARD_MODEL, COST_MODEL, DATA = ("policy",), ("reward_model",), ("cost_model",), ("preferences", "rankings")
"""Each tuple lists the products that are accepted where a policy, a reward model, a cost model or data are needed."""
WORDS = {
    "policy": "a policy",
    "reward_model": "a reward model",
    "cost_model": "a cost model",
    "preferences": "pairs",
    "rankings": "rankings",
}


def check_products(stages: Mapping[str, Job], arms: Mapping[str, Job], evaluators: Mapping[str, HoldsModels]) -> None:
    """Raises `UserError` if a stage, an arm or an evaluator uses a stage that makes a different product from the
    product that is needed. Also raises `UserError` if an arm does not make a policy."""
    for name, stage in stages.items():
        _check_uses(f"stages.{name}", stage, stages)
    for name, arm in arms.items():
        _check_uses(f"arms.{name}", arm, stages)
        _check_makes_policy(f"arms.{name}", arm)
    for name, evaluator in evaluators.items():
        check_models(f"evaluators.{name}", evaluator, stages)


def _check_uses(where: str, job: Job, stages: Mapping[str, Job]) -> None:
    """Raises `UserError` if a job (a stage or an arm) uses a stage that makes a different product from the product that
    the job needs. `where`: the place of the job in the study file."""
    for field, path, needed in _uses(job):
        _check_use(f"{where}.{field}", path, needed, stages)


def check_models(where: str, part: HoldsModels, stages: Mapping[str, Job]) -> None:
    """Raises `UserError` if an evaluator needs a reward model or a cost model from a stage that makes a different
    product. `where`: the place of the evaluator in the study file."""
    for path, needed in _models_used(part):
        _check_use(where, path, needed, stages)


def _check_makes_policy(where: str, job: Job) -> None:
    """Raises `UserError` if the method of an arm does not make a policy. Only a policy can be measured."""
    if job.method is not None and job.method.product != "policy":
        raise UserError(
            f"`{where}`: the method {job.method.kind_name} makes {_name(job.method.product)}, but a study compares policies. "
            "Move this arm to `stages`, or give the arm another method."
        )


def _uses(job: Job) -> Iterator[tuple[str, str | None, Iterable[str]]]:
    """Yields each field of a job (a stage or an arm) that can name the output of a stage, as (field, path, accepted
    products)."""
    yield from (("init", job.init, POLICY), ("policy", job.policy, POLICY), ("preferences", job.preferences, DATA))
    for field, part in (("reward", job.reward), ("cost", job.cost), ("method", job.method)):
        for path, needed in _models_used(part):
            yield field, path, needed


def _models_used(part: HoldsModels | None) -> Iterator[tuple[str, Iterable[str]]]:
    """Yields the path of each saved model that a reward, an evaluator or a method uses, together with the accepted
    product (reward model or cost model). A path that is used as a reward model and as a cost model is yielded twice."""
    if part is None:
        return
    rest = [*saved_models(part)]
    for path in part.cost_models():
        rest.remove(path)
        yield path, COST_MODEL
    yield from ((path, REWARD_MODEL) for path in rest)


def _check_use(place: str, path: str | None, needed: Iterable[str], stages: Mapping[str, Job]) -> None:
    if path is None or not path.startswith(STAGE):
        return
    method = stages[path.removeprefix(STAGE)].method
    if method is None or method.product not in needed:
        makes = (
            f"the method {method.kind_name} of that stage makes {_name(method.product)}"
            if method
            else "that stage has no method"
        )
        wanted = " or ".join(map(_name, needed))
        raise UserError(f"`{place}` is `{path}`, but {makes}. Name a stage that makes {wanted}.")


def _name(product: str) -> str:
    return WORDS.get(product, product)
