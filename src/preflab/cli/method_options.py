"""A method's hyper-parameters as options of the command line, such as `--beta .1 --optim.learning-rate 1e-4`."""

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
    """The method's spec with the hyper-parameters of the command line. Raises `UserError` for an unknown hyper-parameter,
    with the nearest right name, and for a value that does not fit."""
    cls = METHODS.load(name)
    try:
        with redirect_stderr(io.StringIO()):  # silences tyro's own message, a box of many lines
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
    """The names of a method's options as they are typed. An option of a nested spec has a dot: `--optim.learning-rate`."""
    options: list[str] = []
    for field, info in cls.model_fields.items():
        name, inner = prefix + field.replace("_", "-"), info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            options += list_options(inner, f"{name}.")
        elif name != "--kind":
            options.append(name)
    return options


class MethodOption(NamedTuple):
    """An option of a method. `takes`: what is typed after the option's name. `text`: what the option does, its choices
    and its default."""

    name: str
    takes: str
    text: str


def describe_options(cls: type[BaseModel]) -> list[MethodOption]:
    """A method's options in the order of its fields; the options of a nested spec stand in the place of that spec. Each
    default is the method's own, which may differ from the default in the nested spec's class."""
    return list(_describe_fields(cls, "--", None))


def format_method_help(name: str) -> str:
    """The help text of a method's options: what each does, its choices and its true default. Raises `UserError` for an
    unknown method."""
    options = describe_options(METHODS.load(name))
    lines = [f"options of {name}:"]
    for option in options:
        head = f"  {option.name} {option.takes}"
        wrapper = textwrap.TextWrapper(HELP_WIDTH, subsequent_indent=" " * HELP_COLUMN, break_on_hyphens=False)
        lines += wrapper.wrap(f"{head:<{HELP_COLUMN - 2}}  {option.text}")
    return "\n".join(lines)


def _describe_fields(cls: type[BaseModel], prefix: str, defaults: BaseModel | None) -> Iterator[MethodOption]:
    """Yields the options of a spec's fields. `defaults`: for a nested spec, the spec that the method has by default; None
    for the method itself."""
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
    """The words that an annotation allows; empty if the annotation does not list words."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return [word for part in get_args(annotation) for word in _literals(part)]


def _metavar(annotation: Any) -> str:
    """The placeholder for an option's value, chosen by its type; empty for a switch, which takes no value."""
    if get_origin(annotation) in (tuple, dict):
        return "..."
    if annotation is bool:
        return ""
    inner = {_metavar(part) for part in get_args(annotation)}
    return "N" if annotation is int or "N" in inner else "X" if annotation is float or "X" in inner else "NAME"


def _find_cause(error: BaseException) -> ValidationError | None:
    """The validation error that made tyro exit; None if something else made tyro exit."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ValidationError):
        cause = cause.__cause__ or cause.__context__
    return cause
