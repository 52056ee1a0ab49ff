"""From the options of `preflab train` and `preflab evaluate` to an `Arm`."""

from __future__ import annotations

import argparse
import io
import shlex
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import tyro
from pydantic import BaseModel, ValidationError

from preflab.arm.spec import Arm
from preflab.errors import UserError, nearest
from preflab.methods import METHODS
from preflab.rewards import parse_reward
from preflab.spec import explain, parse_spec, read_spec
from preflab.testbeds import TESTBEDS


def arm_from_options(options: argparse.Namespace, rest: list[str]) -> Arm:
    """The arm of a run file, or of the command line's options and the method's own (`--beta .1 --optim.learning-rate 1e-4`)."""
    if options.run is not None:
        if options.method is not None or rest:
            raise UserError("--run FILE holds everything; give it alone, with --output.")
        return read_spec(Arm, options.run)
    if options.method is None:
        raise UserError(f"Name a method: {', '.join(METHODS.names())}. Or a run file with --run.")
    method = method_from_options(options.method, rest)
    data = setting(options) | {
        "name": options.method.split(":")[-1],
        "method": method,
        "init": options.init,
        "preferences": options.preferences,
        "reward": parse_reward(options.reward) if options.reward else None,
    }
    if options.lora is not None:
        data["model"] = {"name": options.model, "lora": {"rank": options.lora}}
    if options.no_evaluate:
        data["evaluator"] = None
    return parse_spec(Arm, data, where="preflab train")


def evaluation_arm(options: argparse.Namespace) -> Arm:
    """An arm that trains nothing and measures a policy."""
    if not Path(options.policy).is_dir():
        raise UserError(f"There is no directory {options.policy}: give a saved policy (a run's `final`).")
    data = setting(options) | {"name": "evaluate", "policy": options.policy, "init": options.start}
    if data["evaluator"] is None:
        raise UserError("Nothing measures: name an evaluator with --evaluator.")
    return parse_spec(Arm, data, where="preflab evaluate")


def setting(options: argparse.Namespace) -> dict[str, Any]:
    """What `train` and `evaluate` share."""
    testbed: dict[str, Any] = {"kind": options.testbed}
    if options.data is not None:
        testbed["data"] = options.data
    measured = {name: getattr(options, name) for name in ("max_new_tokens", "samples", "k", "temperatures")}
    return {
        "model": {"name": options.model},
        "testbed": testbed,
        "evaluator": evaluator(options),
        "evaluation": {name: value for name, value in measured.items() if value is not None},
        "seed": options.seed,
        "token_budget": options.token_budget,
        "threads": options.threads,
        "precision": options.precision,
        "device": options.device,
    }


def evaluator(options: argparse.Namespace) -> Any:
    """The evaluator named, or the one that the testbed has by nature: hidden tests for programs."""
    if options.evaluator is not None and Path(options.evaluator).is_dir():
        return {"kind": "reward-model", "model": {"path": options.evaluator}}
    if options.evaluator is not None:
        return options.evaluator
    return getattr(TESTBEDS.load(options.testbed), "evaluator", None)


def method_from_options(name: str, rest: list[str]) -> Any:
    """The method's spec with the hyper-parameters of the command line. Raises `UserError` for an unknown one, with the
    nearest right name, and for a value that does not fit."""
    cls = METHODS.load(name)
    said = io.StringIO()  # tyro's own words, many lines in a box
    try:
        with redirect_stderr(said):
            method, unknown = tyro.cli(cls, args=rest, prog=f"preflab train {name}", return_unknown_args=True)
    except SystemExit as stopped:
        if stopped.code in (0, None):
            raise
        invalid = _cause(stopped)
        reason = explain(cls, invalid) if invalid is not None else f"{shlex.join(rest)!r} does not fit."
        raise UserError(f"{name}: {reason} See `preflab train {name} --help`.") from stopped
    if unknown:
        given = unknown[0].split("=")[0]
        raise UserError(f"The method {name!r} has no option {given!r}.{nearest(given, options_of(cls))}")
    return method


def options_of(cls: type[BaseModel], prefix: str = "--") -> list[str]:
    """A method's options as they are written, nested specs' with a dot: `--optim.learning-rate`."""
    found: list[str] = []
    for field, info in cls.model_fields.items():
        name, inner = prefix + field.replace("_", "-"), info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += options_of(inner, f"{name}.")
        else:
            found.append(name)
    return [name for name in found if name != "--kind"]


def _cause(error: BaseException) -> ValidationError | None:
    """The validation error that made tyro exit, where one did."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, ValidationError):
        found = found.__cause__ or found.__context__
    return found


def print_method_help(name: str) -> None:
    """A method's hyper-parameters with their defaults."""
    tyro.cli(METHODS.load(name), args=["--help"], prog=f"preflab train {name}")


def finish_words(result: dict[str, Any], output: Path) -> str:
    """What a run says when it ends."""
    if result["diverged"]:
        return (
            f"{result['name']} diverged: {result['diverged']} Lower the learning rate, or check the data. See {output}."
        )
    lines = [f"{result['name']}: done, in {output}"]
    found = result.get("evaluation")
    if found is not None and "chosen" in found:
        for name, label in (("chosen", f"temperature {found['temperature']}"), ("unit", "temperature 1")):
            measures = {key: value for key, value in found[name]["measures"].items() if key != "score"}
            shown = "  ".join(f"{key} {value:.3f}" for key, value in measures.items())
            lines.append(f"  {label}: score {found[name]['measures']['score']:.3f}  {shown}")
        kl = found["unit"]["kl"]
        if kl["estimate"] is not None:
            lines.append(f"  KL to the start: {kl['estimate']:.3f} nats a response ({kl['estimator']})")
    elif result["last"]:
        shown = {
            key.removeprefix("validation/"): value for key, value in result["last"].items() if "validation/" in key
        }
        lines += ["  " + "  ".join(f"{key} {value:.3f}" for key, value in shown.items())] if shown else []
    return "\n".join(lines)
