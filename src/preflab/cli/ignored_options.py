"""Raises `UserError` for options that a run would ignore. Without this error, the user would believe that the options
had an effect on the result."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from preflab.arm.spec import Arm
from preflab.errors import UserError
from preflab.methods import METHODS

BESIDE_RUN_FILE = ("--run", "--output", "--fresh", "--push", "--json", "--quiet", "--verbose")
"""The options of `train` that the user can combine with `--run`. The run file sets everything else."""
SAMPLING = ("samples", "k", "temperatures")
MEASURING = ("evaluator", "max_new_tokens", *SAMPLING)
STARTING = ("model", "init", "lora")
OF_PAIRS = ("preferences", "rankings", "rated")
"""The kinds of records that a `--preferences` file can contain."""


def refuse_beside_run_file(options: argparse.Namespace, method_options: Sequence[str]) -> None:
    """Raises `UserError` if the user combines `--run` with options that the run file sets. `method_options`: the words
    of the command line that `train` itself does not know."""
    given = [word.partition("=")[0] for word in options.words if word.startswith("--")]
    ignored = [name for name in given if name not in BESIDE_RUN_FILE] or [*method_options]
    # Argparse can mistake the value of a method's option for METHOD. METHOD is therefore not checked if the command
    # line has such an option.
    if options.method is not None and not method_options:
        ignored.insert(0, options.method)
    if ignored:
        raise UserError(
            "The run file (--run) sets the method, the testbed, the evaluator and all other settings of the run. "
            f"These words would be ignored: {', '.join(ignored)}. Set them in {options.run}, or leave --run out."
        )


def refuse_ignored(given: Mapping[str, Any], arm: Arm) -> None:
    """Raises `UserError` if a given option has no effect on the arm. `given`: maps the name of each option to
    its value, or to None if the option is not given."""
    reasons = _unmeasured(arm) | ({} if arm.method is None else _unused(arm.method))
    if arm.init is not None:
        reasons.setdefault("model", "--init names the model to start from")
    ignored = next((name for name, value in given.items() if value is not None and name in reasons), None)
    if ignored is not None:
        raise UserError(f"--{ignored.replace('_', '-')} would be ignored: {reasons[ignored]}. Remove this option.")


def _unmeasured(arm: Arm) -> dict[str, str]:
    """Returns the measurement options that have no effect on the arm, each with the reason."""
    if arm.measure == "none":
        return dict.fromkeys(MEASURING, "--no-evaluate leaves out the measurement")
    if arm.method is not None and arm.method.product != "policy":
        return dict.fromkeys(MEASURING, f"{arm.method.kind_name} makes no policy that could be measured")
    return {} if arm.evaluators else dict.fromkeys(SAMPLING, "the run has no evaluator, and --evaluator is not given")


def _unused(method: Any) -> dict[str, str]:
    """Returns the options that have no effect on the method, each with the reason. Checks the options for a model, a
    reward, a cost and pairs. For a user's own method, checks only the options for a model, because preflab does not
    know whether such a method uses a reward, a cost or pairs."""
    kind, reasons = method.kind, dict[str, str]()
    if not method.starts_from_policy:
        reasons |= dict.fromkeys(STARTING, f"{kind} does not start from a policy")
    if kind not in METHODS.known:
        return reasons
    if not (method.scores_samples or method.inference().selector == "reward"):
        reasons["reward"] = f"{kind} uses no reward with these settings"
    if not method.needs_cost:
        reasons["cost"] = f"{kind} uses no cost"
    if method.learns_from not in OF_PAIRS:
        reasons["preferences"] = f"{kind} learns from {method.learns_from}, not from pairs"
    return reasons
