"""Specs, and the names by which they are found.

A spec is frozen data: its fields are the settings, and their defaults are vetted values. Every variant carries its tag
`kind`. `spec.open(context)` is a context manager that gives the live object (see `Context`); a method's spec has `train`
instead. A `Registry` maps each `kind` to `module:Class` without importing it, so that listing the names imports no torch.
`package.module:Name` and installed entry points work wherever a `kind` does.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from preflab.errors import UserError, nearest
from preflab.meter import Meter
from preflab.plain import read_data
from preflab.targets import load_object
from preflab.text import brief


class Spec(BaseModel):
    """Frozen settings; an unknown key is refused at every depth."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class HoldsModels(Spec):
    """The base of every spec that may name saved reward models: a reward, an evaluator, a method."""

    def saved_models(self) -> tuple[str, ...]:
        """The paths of the reward models that the spec's fields name; `stage:NAME` where a study's stage makes one."""
        return tuple(path for _, part in self if isinstance(part, HoldsModels) for path in part.saved_models())

    def check_names(self) -> None:
        """Raises `UserError` where a function of the user's that the spec names does not load. Called when the user's file or
        options have been read, and not for the record of a run, which a report reads where the function need not be."""
        for _, part in self:
            if isinstance(part, HoldsModels):
                part.check_names()

    def with_saved_models(self, settings_of: Callable[[str], Mapping[str, Any]]) -> Self:
        """The same spec, in which `settings_of(path)` replaces settings of each reward model that it names: its `path`, and
        the `mean` and `std` that its scores are normalised by. Settings that are not in the mapping stay."""
        parts = {name: part.with_saved_models(settings_of) for name, part in self if isinstance(part, HoldsModels)}
        return self.model_copy(update=parts)


@dataclass(frozen=True)
class Context:
    """What `spec.open` may use.

    seed: of everything random that the opened object does.
    device: where a model that it loads computes, such as "cpu" or "cuda".
    workdir: the directory of the run, where it may write files.
    testbed: the open testbed (a `preflab.testbeds.base.Testbed`); None while the testbed itself is being opened.
    meter: every opened object charges its work to it: a sampler its tokens, a reward its labels or its forward passes.
    date: the day (ISO) that the chat template of a model which it loads may write; '' for today.
    """

    seed: int = 0
    device: str = "cpu"
    workdir: Path = field(default_factory=lambda: Path("."))
    testbed: Any = None  # the layer of testbeds lies above this one
    meter: Meter = field(default_factory=Meter)
    date: str = ""


class Registry:
    """The names of one layer: `kind -> module:Class`, written out in its package's `__init__`.

    `noun`: what the layer's objects are called in messages. `group`: the entry points of plugins. `base`: the class from
    which every spec of the layer derives.
    """

    def __init__(self, noun: str, group: str, known: Mapping[str, str], base: type[Spec] = Spec) -> None:
        self.noun = noun
        self.group = group
        self.known = dict(known)
        self.base = base

    def names(self) -> list[str]:
        """All names, those of installed plugins included."""
        return sorted({*self.known, *(point.name for point in entry_points(group=self.group))})

    def load(self, name: str) -> type[Spec]:
        """The spec class behind a name; raises `UserError` with the nearest right name."""
        target = self.known.get(name) or next((p.value for p in entry_points(group=self.group, name=name)), None)
        if target is not None:
            try:
                spec_class = pkgutil.resolve_name(target)
            except Exception as error:  # the import of a plugin may raise anything
                raise UserError(f"The {self.noun} {name!r} does not load from {target!r}: {error}") from error
        elif ":" in name:  # the user's own, which may lie in the current directory
            spec_class = load_object(name, self.noun)
        else:
            raise UserError(f"Unknown {self.noun} {name!r}.{nearest(name, self.names())}")
        if not (isinstance(spec_class, type) and issubclass(spec_class, self.base)):
            raise UserError(f"The {self.noun} {name!r} must be a class that derives from {name_class(self.base)}.")
        if inspect.isabstract(spec_class):
            raise UserError(f"The {self.noun} {name!r} must define `{min(spec_class.__abstractmethods__)}`.")
        return spec_class

    def parse(self, value: Any) -> Any:
        """A spec of the layer from a spec (returned as it is), from a bare name, or from a mapping with a `kind`.

        Raises `UserError` for an unknown name or key and for a value out of its range.
        """
        if isinstance(value, self.base):
            return value
        if isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, Mapping) or "kind" not in value:
            raise UserError(f"A {self.noun} needs a `kind`: one of {', '.join(self.names())}.")
        kind = str(value["kind"])
        cls = self.load(kind)
        fields = {str(key): item for key, item in value.items() if key != "kind"}
        if "kind" in cls.model_fields:  # a plugin's class is named by its path but keeps its own tag
            fields["kind"] = cls.model_fields["kind"].default
        return parse_spec(cls, fields, where=f"{self.noun} {kind}")

    def dump(self, spec: Spec) -> dict[str, Any]:
        """The mapping that `parse` reads back, with the name under which the class is found."""
        cls = type(spec)
        target = f"{cls.__module__}:{cls.__qualname__}"
        named = {point.name: point.value for point in entry_points(group=self.group)} | self.known
        kind = next((name for name, known in named.items() if known == target), None)
        if kind is None:  # a package may re-export a class that another of its modules defines
            tag = cls.model_fields["kind"].default if "kind" in cls.model_fields else None
            kind = tag if tag in named and self.load(tag) is cls else target
        return {"kind": kind, **spec.model_dump(mode="json", exclude={"kind"})}


Opened = TypeVar("Opened")


def require_base(opened: object, base: type[Opened]) -> Opened:
    """What a spec opened. Raises `UserError` where it does not derive from `base`, which has a default for all that preflab
    asks of it."""
    if not isinstance(opened, base):
        raise UserError(f"A spec opened a {name_class(type(opened))}, which must derive from {name_class(base)}.")
    return opened


def name_class(cls: type) -> str:
    """`module.Class`."""
    return f"{cls.__module__}.{cls.__qualname__}"


def variant(registry: Registry) -> tuple[Any, ...]:
    """The annotations of a field that holds a spec of a registry: `Annotated[Any, *variant(TESTBEDS)]`."""
    return (BeforeValidator(registry.parse), PlainSerializer(registry.dump), Field(validate_default=True))


def optional_variant(registry: Registry) -> tuple[Any, ...]:
    """The annotations of a field that holds a spec of a registry, or None: `Annotated[Any, *optional_variant(METHODS)]`."""
    return (
        BeforeValidator(lambda value: None if value is None else registry.parse(value)),
        PlainSerializer(lambda spec: None if spec is None else registry.dump(spec)),
        Field(validate_default=True),
    )


_Model = TypeVar("_Model", bound=BaseModel)
_MOST_LINES = 10  # of one message


def read_spec(cls: type[_Model], path: Path) -> _Model:
    """A spec from a YAML, TOML or JSON file; raises `UserError` naming file, field and the nearest right name."""
    return parse_spec(cls, read_data(path), where=str(path))


def parse_spec(cls: type[_Model], data: Any, *, where: str) -> _Model:
    """A spec from plain data; raises `UserError` naming `where`, the field and the nearest right name."""
    try:
        return cls.model_validate(data)
    except pydantic.ValidationError as error:
        raise UserError(f"{where}: {explain(cls, error)}") from error
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def explain(cls: type[BaseModel], error: pydantic.ValidationError) -> str:
    """A validation error in words for the user, one line for each field.

    A list that is too short only because some of its items are wrong is left out: the items themselves are listed.
    """
    lines = []
    items = error.errors(include_url=False)
    parents = {item["loc"][:-1] for item in items}
    for item in items:
        place = ".".join(str(part)[:60] for part in item["loc"])
        if item["type"] == "too_short" and item["loc"] in parents:
            continue
        if item["type"] == "extra_forbidden":
            known = _fields_at(cls, item["loc"][:-1])
            hint = nearest(str(item["loc"][-1]), known) if known else ""
            lines.append(f"unknown key `{place}`.{hint}")
        else:
            reason, value = item["msg"].removeprefix("Value error, "), brief(item.get("input"))
            lines.append(f"{f'`{place}`: ' if place else ''}{reason} (given: {value}).")
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES:] = [f"and {len(lines) - _MOST_LINES} more."]
    return "\n  ".join(lines)


def _fields_at(cls: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The known keys at the place of an error: those of every model that may stand there (in a union, list or mapping)."""
    models = [cls]
    for part in path:
        inner = [model.model_fields[str(part)].annotation for model in models if str(part) in model.model_fields]
        if inner:  # otherwise `part` is an index, a key of a mapping or the tag of a union, and not a field
            models = [model for annotation in inner for model in _models_in(annotation)]
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation holds, however deeply."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
