"""Defines specs, which are settings as frozen data, and registries, which find a spec class by its name.

The fields of a spec are settings. Every spec class has a tag `kind`. `spec.open(context)` is a context manager that
creates the object that the spec describes (see `Context`). The spec of a method has `train` instead of `open`. A
`Registry` maps each `kind` to `module:Class` without importing the module. Listing the names therefore does not import
torch. A `kind` may also be `package.module:Name` or the name of an installed entry point.
"""

from __future__ import annotations

import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, get_args

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic_core import ErrorDetails

from preflab.errors import UserError, nearest
from preflab.meter import Meter
from preflab.plain import read_data
from preflab.targets import load_object
from preflab.text import brief, one_line


class Spec(BaseModel):
    """Frozen settings. An unknown key is an error, also in nested settings. `belongs`: a phrase for error messages,
    such as "a reward: it belongs under `reward:`". Each base class (of rewards, of methods and so on) sets its own
    phrase."""

    belongs: ClassVar[str] = ""
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @property
    def kind_name(self) -> str:
        """The spec's name in results: its field `kind` or, if the class has no such field, the name of the class."""
        return str(dict(self)["kind"]) if "kind" in type(self).model_fields else type(self).__name__


class HoldsModels(Spec):
    """The base class of the specs that may name saved reward models or cost models: rewards, evaluators and methods."""

    def saved_models(self) -> tuple[str, ...]:
        """Returns the paths of the reward models and cost models that the spec's fields name. If a stage of a study
        trains the model, the path is `stage:NAME`."""
        return tuple(path for _, part in self if isinstance(part, HoldsModels) for path in part.saved_models())

    def cost_models(self) -> tuple[str, ...]:
        """Returns the paths from `saved_models` that must lead to a cost model. All other paths from `saved_models`
        must lead to a reward model."""
        return tuple(path for _, part in self if isinstance(part, HoldsModels) for path in part.cost_models())

    def origins(self) -> dict[str, str]:
        """Returns the user's descriptions of training data. The result maps the path of a saved model to the
        description of the data that the model was trained on. Only models that preflab did not train need a
        description."""
        own = (part.origins() for _, part in self if isinstance(part, HoldsModels))
        return dict(item for origins in own for item in origins.items())

    def check_names(self) -> None:
        """Raises `UserError` if the spec names a function of the user that cannot be imported. This method is called
        only for specs from the user's file or options. It is not called for the record of a run, because a report can
        be written on a machine that does not have the function."""
        for _, part in self:
            if isinstance(part, HoldsModels):
                part.check_names()

    def with_saved_models(self, settings_of: Callable[[str], Mapping[str, Any]]) -> Self:
        """Returns a copy of the spec with changed settings of its reward models. For each reward model, the mapping
        `settings_of(path)` contains the new `path` of the model, and the new `mean` and `std` that normalise the
        model's scores. Settings that are not in the mapping stay unchanged."""
        parts = {name: part.with_saved_models(settings_of) for name, part in self if isinstance(part, HoldsModels)}
        return self.model_copy(update=parts)


@dataclass(frozen=True)
class Context:
    """The data that `spec.open` may use.

    seed: the seed of all random choices of the opened object.
    device: the device for a model that the opened object loads, such as "cpu" or "cuda".
    testbed: the open testbed (a `preflab.testbeds.base.Testbed`); None while the testbed itself is being opened.
    meter: counts the compute and the labels of every opened object, such as a sampler or a reward.
    date: the date (ISO) that the chat template of a loaded model can put into a prompt; '' for today.
    """

    seed: int = 0
    device: str = "cpu"
    testbed: Any = None  # typed `Any`, because this module must not import testbeds
    meter: Meter = field(default_factory=Meter)
    date: str = ""


LayerSpec = TypeVar("LayerSpec", bound=Spec)


@cache
def read_plugins(group: str, path: tuple[str, ...]) -> dict[str, str]:
    """Maps the name of each installed plugin of a group to its `module:Class`. The function reads the metadata of all
    packages on `sys.path`, which takes up to a tenth of a second, once for each `path`."""
    return {point.name: point.value for point in entry_points(group=group)}


class Registry(Generic[LayerSpec]):
    """Finds the spec classes of one layer, such as the rewards or the methods, by their names. `known`: a mapping `kind
    -> module:Class`, which is defined in the `__init__` of the layer's package.

    `noun`: the word for an object of the layer in messages, such as `reward`. `group`: the entry-point group of
    plugins. `base`: the class from which every spec of the layer derives, as `module:Class`.
    """

    def __init__(self, noun: str, group: str, known: Mapping[str, str], base: str) -> None:
        self.noun = noun
        self.group = group
        self.known = dict(known)
        self._base = base

    @cached_property
    def base(self) -> type[LayerSpec]:
        return pkgutil.resolve_name(self._base)

    def plugins(self) -> dict[str, str]:
        """Maps the name of each installed plugin to its `module:Class`."""
        return read_plugins(self.group, tuple(sys.path))

    def names(self) -> list[str]:
        """Returns all names, including those of installed plugins."""
        return sorted({*self.known, *self.plugins()})

    def load(self, name: str) -> type[LayerSpec]:
        """Returns the spec class with this name. If there is no such class, raises `UserError` with the nearest known
        name."""
        target = self.known.get(name) or self.plugins().get(name)
        if target is not None:
            try:
                spec_class = pkgutil.resolve_name(target)
            except Exception as error:  # the import of a plugin can raise any error
                raise UserError(f"The {self.noun} {name!r} does not load from {target!r}: {error}") from error
        elif ":" in name:  # the user's own class, which can be in the current directory
            spec_class = load_object(name, self.noun)
        else:
            raise UserError(f"Unknown {self.noun} {name!r}.{nearest(name, self.names())}")
        self.check(spec_class, name)
        return spec_class

    def check(self, spec_class: Any, name: str) -> None:
        """Raises `UserError` if `spec_class` is not a spec class of this layer, or if its specs cannot be opened."""
        if not (isinstance(spec_class, type) and issubclass(spec_class, self.base)):
            if isinstance(spec_class, type) and issubclass(spec_class, Spec) and spec_class.belongs:
                raise UserError(f"{name!r} is {spec_class.belongs}.")
            raise UserError(f"The {self.noun} {name!r} must be a class that derives from {name_class(self.base)}.")
        if inspect.isabstract(spec_class):
            raise UserError(f"The {self.noun} {name!r} must define `{min(spec_class.__abstractmethods__)}`.")
        if inspect.isgeneratorfunction(inspect.getattr_static(spec_class, "open", None)):
            raise UserError(
                f"The {self.noun} {name!r} has an `open` that is not a context manager. Write `@contextmanager` (from "
                "contextlib) on the line above `def open`."
            )

    def parse(self, value: Any) -> LayerSpec:
        """Returns a spec of the layer. `value`: a spec (returned unchanged), a name, or a mapping with a `kind`.

        Raises `UserError` for an unknown name or key and for a value out of its range.
        """
        if isinstance(value, Spec):
            self.check(type(value), name_class(type(value)))
            return cast(LayerSpec, value)
        if isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, Mapping) or not value.get("kind"):
            raise UserError(f"The {self.noun} needs a `kind`: one of {', '.join(self.names())}, or `module:Class`.")
        kind = str(value["kind"])
        cls = self.load(kind)
        fields = {str(key): item for key, item in value.items() if key != "kind"}
        if "kind" in cls.model_fields:  # the field `kind` accepts only the tag of the class, and not `module:Class`
            fields["kind"] = cls.model_fields["kind"].default
        return parse_spec(cls, fields, where=f"{self.noun} {kind}")

    def dump(self, spec: Spec) -> dict[str, Any]:
        """Returns a spec as a mapping that `parse` can read. The `kind` in this mapping is the name by which the
        registry finds the spec's class."""
        cls = type(spec)
        target = f"{cls.__module__}:{cls.__qualname__}"
        kind = _find_name(self.known, target) or self._find_plugin(cls, target)
        return {"kind": kind, **spec.model_dump(mode="json", exclude={"kind"})}

    def _find_plugin(self, cls: type[Spec], target: str) -> str:
        """Returns the name by which a plugin registers a class. If no plugin registers the class, returns `target`, the
        class as `module:Class`."""
        named = self.plugins() | self.known
        name = _find_name(named, target)
        if name is not None:
            return name
        tag = cls.model_fields["kind"].default if "kind" in cls.model_fields else None
        # A plugin can register a module that only re-exports the class, and not `target`. Its name is the tag.
        return tag if tag in named and self.load(tag) is cls else target


def _find_name(named: Mapping[str, str], target: str) -> str | None:
    return next((name for name, known in named.items() if known == target), None)


Opened = TypeVar("Opened")


def require_base(opened: object, base: type[Opened]) -> Opened:
    """Returns `opened`, the object that a spec opened. Raises `UserError` if the object does not derive from `base`,
    because preflab calls the methods that `base` defines."""
    if not isinstance(opened, base):
        raise UserError(f"A spec has opened a {name_class(type(opened))}, which must derive from {name_class(base)}.")
    return opened


def name_class(cls: type) -> str:
    """Returns the name of a class as `module.Class`."""
    return f"{cls.__module__}.{cls.__qualname__}"


def variant(registry: Registry[Any]) -> tuple[Any, ...]:
    """Returns the annotations for a field that contains a spec of a registry, for example `Annotated[TestbedSpec,
    *variant(TESTBEDS)]`."""
    return (BeforeValidator(registry.parse), PlainSerializer(registry.dump), Field(validate_default=True))


def optional_variant(registry: Registry[Any]) -> tuple[Any, ...]:
    """Returns the annotations for a field that contains None or a spec of a registry, for example `Annotated[Method |
    None, *optional_variant(METHODS)]`."""
    return (
        BeforeValidator(lambda value: None if value is None else registry.parse(value)),
        PlainSerializer(lambda spec: None if spec is None else registry.dump(spec)),
        Field(validate_default=True),
    )


_Model = TypeVar("_Model", bound=BaseModel)
_MOST_LINES = 10  # the largest number of lines in one message


def read_spec(cls: type[_Model], path: Path) -> _Model:
    """Reads a spec from a YAML, TOML or JSON file. Raises `UserError` for invalid data. The error names the file, the
    field, and the nearest known name."""
    return parse_spec(cls, read_data(path), where=str(path))


def parse_spec(cls: type[_Model], data: Any, *, where: str) -> _Model:
    """Makes a spec from plain data. Raises `UserError` for invalid data. The error begins with `where`, and names the
    field and the nearest known name."""
    if data is None:
        raise UserError(f"{where} is empty. It must contain keys with values.")
    try:
        return cls.model_validate(data)
    except pydantic.ValidationError as error:
        raise UserError(f"{where}: {explain(cls, error)}") from error
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def explain(cls: type[BaseModel], error: pydantic.ValidationError) -> str:
    """Describes a validation error for the user, one line for each field. If a list is too short only because some
    items are invalid, the message names the items and not the list.
    """
    lines = []
    items = error.errors(include_url=False)
    parents = {item["loc"][:-1] for item in items}
    for item in items:
        place = ".".join(one_line(str(part))[:60] for part in item["loc"])
        if item["type"] == "too_short" and item["loc"] in parents:
            continue
        if item["type"] == "missing":
            lines.append(f"`{place}` is missing.")
        elif item["type"] == "extra_forbidden":
            known = _fields_at(cls, item["loc"][:-1])
            hint = nearest(str(item["loc"][-1]), known) if known else ""
            lines.append(f"unknown key `{place}`.{hint}")
        else:
            reason, value = _reason(item), brief(item.get("input"))
            lines.append(f"{f'`{place}`: ' if place else ''}{reason} (given: {value}).")
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES:] = [f"and {len(lines) - _MOST_LINES} more."]
    return "\n  ".join(lines)


def _reason(item: ErrorDetails) -> str:
    """Returns the reason why a value is invalid. Replaces pydantic's messages about too short and too long lists,
    because those messages mention validation."""
    limits = item.get("ctx", {})
    if item["type"] == "too_short":
        return f"the number of items must be at least {limits['min_length']}"
    if item["type"] == "too_long":
        return f"the number of items must be at most {limits['max_length']}"
    return item["msg"].removeprefix("Value error, ")


def _fields_at(cls: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Returns the keys that are allowed at the place of an error. If several pydantic models can occur there, as in a
    union, the result contains the keys of all these models."""
    models = [cls]
    for part in path:
        inner = [model.model_fields[str(part)].annotation for model in models if str(part) in model.model_fields]
        if inner:  # `inner` is empty if `part` is an index, a key of a mapping, or the tag of a union
            models = [model for annotation in inner for model in _models_in(annotation)]
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Returns the pydantic models that occur in an annotation, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
