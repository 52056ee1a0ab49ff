"""Makes an `Arm`, the settings of one run, from the options of `preflab train` and `preflab evaluate`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from preflab.arm.saved import find_saved_model
from preflab.arm.spec import Arm
from preflab.cli.endpoint_options import endpoint_from_options
from preflab.cli.ignored_options import refuse_beside_run_file, refuse_ignored
from preflab.cli.options import testbed_from_options
from preflab.cli.spec_options import list_options, method_from_options, part_from_options
from preflab.errors import UserError
from preflab.evaluation import EVALUATORS
from preflab.evaluation.served import SERVED
from preflab.methods import METHODS
from preflab.models.spec import HUB_NAME
from preflab.paths import user_path
from preflab.rewards import parse_cost, parse_reward
from preflab.spec import parse_spec, read_spec
from preflab.testbeds.base import TestbedSpec
from preflab.train.directory import read_manifest


def arm_from_options(options: argparse.Namespace, method_options: Sequence[str]) -> Arm:
    """Returns the arm of `preflab train`. With `--run`, reads the arm from the run file. Without `--run`, makes the arm
    from the options of `train` and the options of the method, such as `--beta .1 --optim.learning-rate 1e-4`."""
    if options.run is not None:
        refuse_beside_run_file(options, method_options)
        arm = read_spec(Arm, options.run)
        arm.check_names(f"{options.run}")
        return arm
    if options.method is None:
        raise UserError(f"Name a method: {', '.join(METHODS.names())}. Or give a run file with --run.")
    words = [*method_options, *_take_samples(options)]
    data = shared_settings(options) | {
        "name": options.method.split(":")[-1],
        "method": method_from_options(options.method, words),
        "init": None if options.init is None else _name_product(options.init),
        "preferences": options.preferences,
        "checkpoint_activations": options.checkpoint_activations,
        "reward": parse_reward(options.reward) if options.reward else None,
        "cost": parse_cost(options.cost) if options.cost else None,
    }
    model: dict[str, Any] = {} if options.model is None else {"name": options.model}
    if options.lora is not None:
        model["lora"] = {"rank": options.lora}
    if model:
        data["model"] = model
    if options.no_evaluate:
        data |= {"evaluator": None, "measure": "none"}
    arm = parse_spec(Arm, data, where="train")
    own = {"model": options.model, "init": options.init, "lora": options.lora, "preferences": options.preferences}
    refuse_ignored(own | {"reward": options.reward, "cost": options.cost} | measuring_options(options), arm)
    arm.check_names("train")
    return arm


def _take_samples(options: argparse.Namespace) -> list[str]:
    """If the method has an option `--samples`, a given `--samples` sets this option and not the evaluation option of
    the same name. Removes the value from the evaluation options. Returns `--samples` and the value as command-line
    words for the method. Returns [] if the method has no such option, or if the user does not give `--samples`."""
    if options.samples is None or "--samples" not in list_options(METHODS.load(options.method)):
        return []
    words = ["--samples", str(options.samples)]
    options.samples = None
    return words


def evaluation_arm(options: argparse.Namespace) -> Arm:
    """Returns the arm of `preflab evaluate`, which measures a policy without training it. Raises `UserError` if the
    directory of the policy does not exist, or if an option of an endpoint is given for a policy that no server runs."""
    endpoint = endpoint_from_options(options) | ({} if options.api is None else {"api": options.api})
    if options.policy.startswith(SERVED):
        return _served_arm(options, endpoint)
    if endpoint:
        raise UserError(
            f"--{next(iter(endpoint)).replace('_', '-')} is an option of an endpoint, but the policy is not openai:MODEL. "
            "Remove the option."
        )
    if not user_path(options.policy).is_dir():
        raise UserError(f"There is no directory {options.policy}. Name a finished run, a saved policy or openai:MODEL.")
    policy = _name_product(options.policy)
    start = None if options.start is None else _name_product(options.start)
    data = shared_settings(options) | {"name": "evaluate", "policy": policy, "init": start}
    arm = parse_spec(Arm, data, where="evaluate")
    refuse_ignored(measuring_options(options), arm)
    return arm


def _served_arm(options: argparse.Namespace, endpoint: dict[str, Any]) -> Arm:
    """Returns the arm of `preflab evaluate openai:MODEL`. Raises `UserError` for `--start`, because a served policy has
    no KL."""
    if options.start is not None:
        raise UserError("--start would be ignored: the log-probabilities of a served policy are not known. Remove it.")
    data = shared_settings(options) | {"name": "evaluate", "policy": options.policy, "endpoint": endpoint or None}
    arm = parse_spec(Arm, data, where="evaluate")
    refuse_ignored(measuring_options(options), arm)
    return arm


def _name_product(name: str) -> str:
    """Returns the path of the run's trained model if `name` is the directory of a run. Returns any other name
    unchanged. Raises `UserError` if the run has no model."""
    directory = user_path(name)
    is_run = directory.is_dir() and read_manifest(directory) is not None
    return str(find_saved_model(directory)) if is_run else name


def shared_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the fields of an arm that both `train` and `evaluate` set."""
    testbed = testbed_from_options(options)
    measuring = {name: value for name, value in measuring_options(options).items() if name != "evaluator"}
    return {
        "testbed": testbed,
        "evaluator": choose_evaluator(options, testbed),
        "evaluation": {name: value for name, value in measuring.items() if value is not None},
        "seed": options.seed,
        "token_budget": options.token_budget,
        "too_long": options.too_long,
        "threads": options.threads,
        "precision": options.precision,
        "device": options.device,
    }


def measuring_options(options: argparse.Namespace) -> dict[str, Any]:
    """Maps the name of each measurement option to its value. The value is None if the user does not give the option."""
    given = {"evaluator": options.evaluator, "max_new_tokens": options.max_new_tokens, "samples": options.samples}
    return {**given, "k": options.k, "temperatures": options.temperatures}


def choose_evaluator(options: argparse.Namespace, testbed: TestbedSpec) -> Any:
    """Returns the evaluator that `--evaluator` names, with its settings. If `--evaluator` names a directory or a model
    on the hub, the evaluator is this reward model. Without `--evaluator`, returns the testbed's default evaluator. The
    default evaluator of a testbed with programs is the hidden tests. Raises `UserError` if the options set an
    evaluator's settings but do not name the evaluator."""
    name, settings = options.evaluator, options.settings.get("evaluator", [])
    if name is None:
        if settings:
            raise UserError(f"{settings[0]} is a setting of an evaluator. Name the evaluator with --evaluator.")
        return testbed.evaluator
    if user_path(name).is_dir() or HUB_NAME.fullmatch(name):
        return part_from_options(EVALUATORS, "reward-model", [f"--evaluator.model.path={name}", *settings])
    return part_from_options(EVALUATORS, name, settings) if settings else name
