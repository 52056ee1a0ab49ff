"""A method's hyper-parameters as options of the command line (`--beta .1 --optim.learning-rate 1e-4`)."""

from __future__ import annotations

import io
import shlex
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import Any

import tyro
from pydantic import BaseModel, ValidationError

from preflab.errors import UserError, nearest
from preflab.methods import METHODS
from preflab.spec import explain


def method_from_options(name: str, arguments: Sequence[str]) -> Any:
    """The method's spec with the hyper-parameters of the command line. Raises `UserError` for an unknown one, with the
    nearest right name, and for a value that does not fit."""
    cls = METHODS.load(name)
    try:
        with redirect_stderr(io.StringIO()):  # tyro's own message, many lines in a box
            method, unknown = tyro.cli(cls, args=arguments, prog=f"preflab train {name}", return_unknown_args=True)
    except SystemExit as stopped:
        if stopped.code in (0, None):
            raise
        invalid = _find_cause(stopped)
        reason = explain(cls, invalid) if invalid is not None else f"{shlex.join(arguments)!r} does not fit."
        raise UserError(f"{name}: {reason} See `preflab train {name} --help`.") from stopped
    if unknown:
        option = unknown[0].split("=")[0]
        raise UserError(f"The method {name!r} has no option {option!r}.{nearest(option, list_options(cls))}")
    return method


def list_options(cls: type[BaseModel], prefix: str = "--") -> list[str]:
    """A method's options as they are written, those of a nested spec with a dot: `--optim.learning-rate`."""
    options: list[str] = []
    for field, info in cls.model_fields.items():
        name, inner = prefix + field.replace("_", "-"), info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            options += list_options(inner, f"{name}.")
        elif name != "--kind":
            options.append(name)
    return options


def print_method_help(name: str) -> None:
    """Prints a method's hyper-parameters with their defaults."""
    tyro.cli(METHODS.load(name), args=["--help"], prog=f"preflab train {name}")


def _find_cause(error: BaseException) -> ValidationError | None:
    """The validation error that made tyro exit, where one did."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ValidationError):
        cause = cause.__cause__ or cause.__context__
    return cause
