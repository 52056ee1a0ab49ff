"""Turns a method's hyper-parameters into command-line options, such as `--beta .1 --optim.learning-rate 1e-4`."""

from __future__ import annotations

import io
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from typing import Any, Literal, NamedTuple, get_args, get_origin

import tyro
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from preflab.cli.option_texts import OPTION_TEXTS
from preflab.errors import UserError, nearest
from preflab.losses.preference import describe_losses
from preflab.methods import METHODS
from preflab.spec import Spec, explain

HELP_COLUMN, HELP_WIDTH = 38, 118


def method_from_options(name: str, arguments: Sequence[str]) -> Any:
    """Returns the method's spec with the hyper-parameters that the command line sets. Raises `UserError` if a value is
    invalid, or if a hyper-parameter is unknown; the message then suggests the most similar name."""
    cls = METHODS.load(name)
    try:
        with redirect_stderr(io.StringIO()):  # hides tyro's own error message, which has many lines
            method, unknown = tyro.cli(cls, args=arguments, prog=f"preflab train {name}", return_unknown_args=True)
    except SystemExit as stopped:
        if stopped.code in (0, None):
            raise
        invalid = _find_cause(stopped)
        reason = explain(cls, invalid) if invalid is not None else f"the options {shlex.join(arguments)!r} are invalid."
        raise UserError(f"{name}: {reason} See `preflab train {name} --help`.") from stopped
    if unknown:
        option = unknown[0].split("=")[0]
        raise UserError(f"The method {name!r} has no option {option!r}.{nearest(option, list_options(cls))}")
    return method


def list_options(cls: type[BaseModel], prefix: str = "--") -> list[str]:
    """Returns the names of a method's options as the user types them. The name of an option in a nested spec has a dot,
    such as `--optim.learning-rate`."""
    options: list[str] = []
    for field, info in cls.model_fields.items():
        name, inner = prefix + field.replace("_", "-"), info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            options += list_options(inner, f"{name}.")
        elif name != "--kind":
            options.append(name)
    return options


class MethodOption(NamedTuple):
    """An option of a method. `takes`: the placeholder for the option's value, such as `N`. `text`: a description with
    the option's choices and default."""

    name: str
    takes: str
    text: str


def describe_options(cls: type[BaseModel]) -> list[MethodOption]:
    """Returns a method's options in the order of its fields. The options of a nested spec take the place of that spec.
    The default of such an option is the method's, which may differ from the default in the class of the nested spec."""
    return list(_describe_fields(cls, "--", None))


def format_method_help(name: str) -> str:
    """Returns the help text of a method's options: what each option does, its choices and its default. Raises
    `UserError` for an unknown method."""
    options = describe_options(METHODS.load(name))
    lines = [f"options of {name}:"]
    for option in options:
        head = f"  {option.name} {option.takes}"
        wrapper = textwrap.TextWrapper(HELP_WIDTH, subsequent_indent=" " * HELP_COLUMN, break_on_hyphens=False)
        lines += wrapper.wrap(f"{head:<{HELP_COLUMN - 2}}  {option.text}")
    return "\n".join(lines)


def _describe_fields(cls: type[BaseModel], prefix: str, defaults: BaseModel | None) -> Iterator[MethodOption]:
    """Yields the options for the fields of the spec class `cls`. `defaults`: the method's default value of this nested
    spec; None if `cls` is the method itself."""
    for field, info in cls.model_fields.items():
        name = prefix + field.replace("_", "-")
        default = info.get_default(call_default_factory=True) if defaults is None else dict(defaults)[field]
        if isinstance(default, Spec):
            yield from _describe_fields(type(default), f"{name}.", default)
        elif field != "kind":
            known = describe_losses() if field == "loss" else _literals(info.annotation)
            text = info.description or OPTION_TEXTS.get(field, "")
            text += f"; one of: {', '.join(known)}" if known else ""
            switch = f", {prefix}no-{name.removeprefix(prefix)}" if info.annotation is bool else ""
            yield MethodOption(name + switch, _metavar(info.annotation), f"{text} ({_default_text(info, default)})")


def _default_text(info: FieldInfo, default: Any) -> str:
    if info.is_required():
        return "needed"
    if default is None:
        return "default: none"
    if isinstance(default, bool):
        return f"default: {'on' if default else 'off'}"
    return f"default: {' '.join(map(str, default)) or 'none' if isinstance(default, tuple | dict) else default}"


def _literals(annotation: Any) -> list[str]:
    """Returns the words that a type annotation allows; an empty list if the annotation contains no `Literal`."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return [word for part in get_args(annotation) for word in _literals(part)]


def _metavar(annotation: Any) -> str:
    """Returns the placeholder for an option's value, by the type of the value; '' for a switch, which has no value."""
    if get_origin(annotation) in (tuple, dict):
        return "..."
    if annotation is bool:
        return ""
    inner = {_metavar(part) for part in get_args(annotation)}
    return "N" if annotation is int or "N" in inner else "X" if annotation is float or "X" in inner else "NAME"


def _find_cause(error: BaseException) -> ValidationError | None:
    """Returns the validation error that made tyro exit; None if tyro exited for another reason."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ValidationError):
        cause = cause.__cause__ or cause.__context__
    return cause
