"""Makes an `Arm` from the options of `preflab train` and `preflab evaluate`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preflab.arm.spec import Arm
from preflab.cli.options import testbed_from_options
from preflab.cli.spec_options import list_options, method_from_options, part_from_options
from preflab.errors import UserError
from preflab.evaluation import EVALUATORS
from preflab.methods import METHODS
from preflab.rewards import parse_reward
from preflab.spec import parse_spec, read_spec
from preflab.testbeds.base import TestbedSpec


def arm_from_options(options: argparse.Namespace, method_options: Sequence[str]) -> Arm:
    """The arm that a run file describes, or the arm that the options of `train` and of the method describe (`--beta .1
    --optim.learning-rate 1e-4`)."""
    if options.run is not None:
        if options.method is not None or method_options or any(options.settings.values()):
            raise UserError("--run FILE holds everything; give it alone, with --output.")
        arm = read_spec(Arm, options.run)
        arm.check_names(f"{options.run}")
        return arm
    if options.method is None:
        raise UserError(f"Name a method: {', '.join(METHODS.names())}. Or a run file with --run.")
    words = [*method_options, *_take_samples(options)]
    data = shared_settings(options) | {
        "name": options.method.split(":")[-1],
        "method": method_from_options(options.method, words),
        "init": options.init,
        "preferences": options.preferences,
        "reward": parse_reward(options.reward) if options.reward else None,
    }
    if options.lora is not None:
        named = {} if options.model is None else {"name": options.model}
        data["model"] = {**named, "lora": {"rank": options.lora}}
    if options.no_evaluate:
        data |= {"evaluator": None, "measure": "none"}
    arm = parse_spec(Arm, data, where="train")
    arm.check_names("train")
    return arm


def _take_samples(options: argparse.Namespace) -> list[str]:
    """If the method has an option `--samples` of its own, takes `--samples` out of the measuring options and returns it
    as words for the method."""
    if options.samples is None or "--samples" not in list_options(METHODS.load(options.method)):
        return []
    words = ["--samples", str(options.samples)]
    options.samples = None
    return words


def evaluation_arm(options: argparse.Namespace) -> Arm:
    """An arm that measures a policy and trains nothing."""
    if not Path(options.policy).is_dir():
        raise UserError(f"There is no directory {options.policy}: give a saved policy (a run's `final`).")
    data = shared_settings(options) | {"name": "evaluate", "policy": options.policy, "init": options.start}
    return parse_spec(Arm, data, where="evaluate")


def shared_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of an arm that `train` and `evaluate` both set."""
    testbed = testbed_from_options(options)
    measuring = {"max_new_tokens": options.max_new_tokens, "samples": options.samples, "k": options.k}
    measuring["temperatures"] = options.temperatures
    return {
        **({} if options.model is None else {"model": {"name": options.model}}),
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


def choose_evaluator(options: argparse.Namespace, testbed: TestbedSpec) -> Any:
    """The evaluator that the options name (a directory means the reward model in it), with its settings. If they name none,
    the testbed's own evaluator: hidden tests for programs. Raises `UserError` for settings of an evaluator that is not
    named."""
    name, settings = options.evaluator, options.settings.get("evaluator", [])
    if name is None:
        if settings:
            raise UserError(f"{settings[0]} is a setting of an evaluator: name it with --evaluator.")
        return testbed.evaluator
    if Path(name).is_dir():
        return part_from_options(EVALUATORS, "reward-model", [f"--evaluator.model.path={name}", *settings])
    return part_from_options(EVALUATORS, name, settings) if settings else name
