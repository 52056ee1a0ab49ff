"""Turns the settings of a spec into command-line options.

The settings are a method's hyper-parameters, such as `--beta .1 --optim.learning-rate 1e-4`, or the settings of a
testbed or an evaluator, such as `--testbed.validation .2`.
"""

from __future__ import annotations

import io
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from typing import Any, Literal, NamedTuple, get_args, get_origin

import tyro
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from preflab.cli.option_texts import OPTION_TEXTS, SETTING_TEXTS
from preflab.errors import UserError, nearest
from preflab.losses.preference import describe_losses
from preflab.methods import METHODS
from preflab.spec import Registry, Spec, explain

HELP_COLUMN, HELP_WIDTH = 38, 118


def method_from_options(name: str, arguments: Sequence[str]) -> Any:
    """Returns the method's spec with the hyper-parameters that the command line sets. Raises `UserError` if a value is
    invalid or a hyper-parameter is unknown. For an unknown hyper-parameter, the message suggests the most similar
    name."""
    return _spec_from_options(METHODS, name, arguments, "--", f"preflab train {name} --help")


def part_from_options(registry: Registry[Any], name: str, arguments: Sequence[str]) -> Any:
    """Returns the spec of a testbed or an evaluator with the settings that the command line gives, such as
    `--testbed.rows 100`. Raises `UserError` if a value is invalid, if a setting is unknown, or if a setting without a
    default is missing."""
    prefix = f"--{registry.noun}."
    given = {word.partition("=")[0].replace("_", "-") for word in arguments}
    lacking = next((option for option in list_needed(registry.load(name), prefix) if option not in given), None)
    if lacking is not None:
        raise UserError(f"The {registry.noun} {name!r} needs {lacking}.")
    return _spec_from_options(registry, name, arguments, prefix, f"--{registry.noun} {name} --help")


def _spec_from_options(registry: Registry[Any], name: str, arguments: Sequence[str], prefix: str, usage: str) -> Any:
    cls = registry.load(name)
    words = [f"--{word.removeprefix(prefix)}" if word.startswith(prefix) else word for word in arguments]
    try:
        with redirect_stderr(io.StringIO()):  # hides tyro's own error message, which has many lines
            spec, unknown = tyro.cli(cls, args=words, prog=f"preflab {name}", return_unknown_args=True)
    except SystemExit as stopped:
        if stopped.code in (0, None):
            raise
        invalid = _find_cause(stopped)
        reason = explain(cls, invalid) if invalid is not None else f"the options {shlex.join(arguments)!r} are invalid."
        raise UserError(f"{name}: {reason} See `{usage}`.") from stopped
    if unknown:
        option, known = prefix + unknown[0].split("=")[0].removeprefix("--"), list_options(cls, prefix)
        hint = nearest(option, known) if known else " It has no options."
        raise UserError(f"The {registry.noun} {name!r} has no option {option!r}.{hint}")
    return spec


def list_options(cls: type[BaseModel], prefix: str = "--") -> list[str]:
    """Returns the names of a spec's options as the user types them. The name of an option in a nested spec contains a
    dot, such as `--optim.learning-rate`."""
    options: list[str] = []
    for field, info in cls.model_fields.items():
        name, inner = prefix + field.replace("_", "-"), info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            options += list_options(inner, f"{name}.")
        elif field != "kind":
            options.append(name)
    return options


def list_needed(cls: type[BaseModel], prefix: str) -> list[str]:
    """Returns the names of the options that have no default."""
    needed: list[str] = []
    for field, info in cls.model_fields.items():
        name, inner = prefix + field.replace("_", "-"), info.annotation
        if info.is_required() and isinstance(inner, type) and issubclass(inner, BaseModel):
            needed += list_needed(inner, f"{name}.")
        elif info.is_required():
            needed.append(name)
    return needed


class SpecOption(NamedTuple):
    """An option of a spec. `takes`: the placeholder for the option's value, such as `N`. `text`: a description with
    the option's choices and default."""

    name: str
    takes: str
    text: str


def describe_options(
    cls: type[BaseModel], prefix: str = "--", texts: Mapping[str, str] = OPTION_TEXTS
) -> list[SpecOption]:
    """Returns a spec's options in the order of its fields. For a nested spec, returns the options of the nested spec,
    with the defaults that the outer spec sets. These defaults can differ from the defaults of the nested class.
    `texts`: maps each field to its description."""
    return list(_describe_fields(cls, prefix, texts))


def format_method_help(name: str) -> str:
    """Returns the help text of a method's options: what each option does, its choices and its default. Raises
    `UserError` for an unknown method."""
    return _format_help(f"options of {name}:", describe_options(METHODS.load(name)))


def format_part_help(registry: Registry[Any], name: str) -> str:
    """Returns the help text of the settings of a testbed or an evaluator. Raises `UserError` if `name` is unknown."""
    options = describe_options(registry.load(name), f"--{registry.noun}.", SETTING_TEXTS)
    return _format_help(f"settings of the {registry.noun} {name}:{'' if options else ' none'}", options)


def _format_help(title: str, options: Sequence[SpecOption]) -> str:
    lines = [title]
    for option in options:
        head = f"  {option.name} {option.takes}"
        wrapper = textwrap.TextWrapper(HELP_WIDTH, subsequent_indent=" " * HELP_COLUMN, break_on_hyphens=False)
        lines += wrapper.wrap(f"{head:<{HELP_COLUMN - 2}}  {option.text}")
    return "\n".join(lines)


def _describe_fields(
    cls: type[BaseModel], prefix: str, texts: Mapping[str, str], defaults: BaseModel | None = None
) -> Iterator[SpecOption]:
    """Yields the options for the fields of the spec class `cls`. `texts`: maps each field to its description.
    `defaults`: an object of `cls`, with the defaults that the outer spec sets for a nested spec. None if `cls` is not
    nested, or if the outer spec sets no defaults."""
    for field, info in cls.model_fields.items():
        name = prefix + field.replace("_", "-")
        default = info.get_default(call_default_factory=True) if defaults is None else dict(defaults)[field]
        if info.is_required() and isinstance(info.annotation, type) and issubclass(info.annotation, Spec):
            yield from _describe_fields(info.annotation, f"{name}.", texts)
        elif isinstance(default, Spec):
            yield from _describe_fields(type(default), f"{name}.", texts, default)
        elif field != "kind":
            known = describe_losses() if field == "loss" else _literals(info.annotation)
            text = info.description or texts.get(field, "")
            text += f"; one of: {', '.join(known)}" if known else ""
            switch = f", {prefix}no-{name.removeprefix(prefix)}" if info.annotation is bool else ""
            yield SpecOption(name + switch, _metavar(info.annotation), f"{text} ({_default_text(info, default)})")


def _default_text(info: FieldInfo, default: Any) -> str:
    if info.is_required():
        return "needed"
    if default is None or default == "":
        return "default: none"
    if isinstance(default, bool):
        return f"default: {'on' if default else 'off'}"
    return f"default: {' '.join(map(str, default)) or 'none' if isinstance(default, tuple | dict) else default}"


def _literals(annotation: Any) -> list[str]:
    """Returns the words that a type annotation allows. Returns an empty list if the annotation contains no
    `Literal`."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return [word for part in get_args(annotation) for word in _literals(part)]


def _metavar(annotation: Any) -> str:
    """Returns the placeholder for an option's value, which depends on the type of the value. Returns '' for a switch,
    because a switch has no value."""
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
