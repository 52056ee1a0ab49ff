"""Reads plain data from the user's YAML, TOML and JSON files. Raises `UserError` for an invalid file."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from preflab.errors import UserError

MOST_BYTES = 4 << 20
"""The largest allowed size of a settings file, in bytes."""
MOST_NESTED = 200
"""The largest allowed nesting depth of lists and mappings."""
MOST_VALUES = 200_000
"""The largest allowed number of values in a settings file. A YAML alias counts as all the values that the alias stands
for."""


def read_data(path: Path) -> Any:
    """Reads the settings in a YAML, TOML or JSON file. Values are strings, booleans, finite or infinite numbers, null,
    lists, and mappings with string keys. Raises `UserError` if the file cannot be read or is invalid. The error names
    the file, and the line or the key."""
    where = f"{path} cannot be read"
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except OSError as error:
        raise UserError(f"{where}: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"{where}: {error}.") from error
    if len(content) > MOST_BYTES:
        raise UserError(f"{where}: the file has more than {MOST_BYTES >> 20} MB, the largest allowed size of settings.")
    text = decode_text(content, where)
    if path.suffix == ".json":
        data = parse_json(text, where, pairs=refuse_repeated_keys)
    elif path.suffix == ".toml":
        data = _parse_toml(text, where)
    else:
        data = _parse_yaml(text, where)
    check_plain(data, where)
    return data


def decode_text(content: bytes, where: str, advice: str = " Save the file as UTF-8.") -> str:
    """Decodes UTF-8 bytes and removes a byte order mark. Raises `UserError` if the bytes are not UTF-8. The error names
    the line."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where}: line {line} is not UTF-8.{advice}") from error


def parse_json(text: str | bytes, where: str, *, pairs: Any = None) -> Any:
    """Returns the data in a JSON text. Raises `UserError` for text that is not JSON, bytes that are not UTF-8, a number
    with thousands of digits, an unpaired surrogate, and brackets nested more deeply than `MOST_NESTED`. `where`: the
    beginning of the error message. `pairs`: the `object_pairs_hook` of `json.loads`."""
    if isinstance(text, bytes):
        text = decode_text(text, where, advice="")
    try:
        data = json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where}: it is not JSON ({error.msg} at line {error.lineno}, column {error.colno})."
        ) from error
    except RecursionError as error:
        raise UserError(f"{where}: {_describe_nesting(text)}.") from error
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except ValueError as error:  # Python refuses numbers with more than 4300 digits
        raise UserError(f"{where}: {_describe_long_number(text)}.") from error
    if text.count("[") + text.count("{") > MOST_NESTED or "\\u" in text:
        _walk(data, where, settings=False)
    return data


def _describe_nesting(text: str) -> str:
    """Returns a message that names the line at which brackets are nested too deeply. Brackets inside strings are
    counted too, so the line can be inexact."""
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", text):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > MOST_NESTED:
            line = text.count("\n", 0, bracket.start()) + 1
            return f"brackets are nested too deeply, at line {line}"
    return "brackets are nested too deeply"


def _describe_long_number(text: str) -> str:
    number = re.search(rf"\d{{{sys.get_int_max_str_digits() + 1}}}", text)
    line = text.count("\n", 0, number.start() if number else 0) + 1
    return f"a number has too many digits, at line {line}"


def check_plain(data: Any, where: str) -> None:
    """Raises `UserError` if the data are not valid settings. The error names the key. Settings must not contain dates,
    unpaired surrogates, integers beyond 64 bits, keys that are not strings, too many values, or too deep nesting.
    Nesting can be endless, because a YAML alias can contain itself."""
    _walk(data, where, settings=True)


def _walk(data: Any, where: str, *, settings: bool) -> None:
    values = 0
    todo: list[tuple[Any, tuple[Any, ...]]] = [(data, ())]
    while todo:
        value, place = todo.pop()
        values += 1
        if len(place) > MOST_NESTED:
            raise UserError(f"{where}: lists and mappings are nested too deeply ({_name_place(place[:6])}...).")
        if settings and values > MOST_VALUES:
            raise UserError(
                f"{where}: the data have more than {MOST_VALUES:,} values, counted after YAML aliases are expanded."
            )
        if isinstance(value, dict):
            todo += [(item, (*place, key)) for key, item in reversed(value.items())]
            fault = next(filter(None, (_find_key_fault(key) for key in value)), "")
        elif isinstance(value, list):
            todo += [(item, (*place, index)) for index, item in reversed([*enumerate(value)])]
            fault = ""
        else:
            fault = _find_fault(value, settings)
        if fault:
            raise UserError(f"{where}: {_name_place(place)}{fault}")


def _find_key_fault(key: Any) -> str:
    if isinstance(key, str):
        return _find_fault(key, settings=False)
    return (
        f"the key `{str(key)[:40]}` must be text: put it in quotes (YAML reads yes, no, on and off as true and false)."
    )


def _find_fault(value: Any, settings: bool) -> str:
    """Describes what is wrong with a single value. Returns '' if the value is valid."""
    if isinstance(value, str):
        broken = any("\ud800" <= letter <= "\udfff" for letter in value)
        return "a string contains half a surrogate pair (\\ud8xx). Remove it." if broken else ""
    if isinstance(value, int):
        return "a number needs more than 64 bits. Write a smaller number." if settings and abs(value) >= 2**63 else ""
    if value is None or isinstance(value, float):
        return ""
    return f"{value} is a {type(value).__name__}, which settings cannot contain. If you mean text, put it in quotes."


def _name_place(place: Iterable[Any]) -> str:
    """Returns the position of a value as the beginning of a message, such as `` `arms.dpo.beta`: ``. Returns '' for the
    whole file."""
    name = ".".join(str(part)[:40] for part in place)
    return f"`{name}`: " if name else ""


def refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the key-value pairs of a JSON object as a dictionary. Raises `UserError` if a key occurs twice, because
    the first value would be lost silently."""
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        raise UserError(
            f"the key `{next(key for key in keys if keys.count(key) > 1)[:40]}` occurs twice. Remove one of the two."
        )
    return data


def _parse_toml(text: str, where: str) -> Any:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise UserError(f"{where}: {_describe_nesting(text)}.") from error
    except ValueError as error:
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else _describe_long_number(text)
        raise UserError(f"{where}: {reason}.") from error


_OLD_NUMBER = re.compile(r"[-+]?(.*:.*|0[0-7_]+)")
"""Matches numbers that YAML 1.1 reads in an unexpected way: 1:30 as 90, and 010 as 8."""


class _Loader(yaml.SafeLoader):
    """Loads the subset of YAML that settings use. Refuses repeated keys, dates, sets and deep nesting. The error names
    the line of the fault."""

    nested = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.nested += 1
        if self.nested > MOST_NESTED:
            mark = self.peek_event().start_mark
            raise yaml.constructor.ConstructorError(None, None, "brackets are nested too deeply", mark)
        node = super().compose_node(parent, index)
        self.nested -= 1
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind in ("int", "float") and _OLD_NUMBER.fullmatch(str(node.value)):
            fault = f"YAML reads {node.value[:40]!r} in base 60 or 8; write a plain number, or put text in quotes"
            raise yaml.constructor.ConstructorError(None, None, fault, node.start_mark)
        written = repr(node.value[:40]) if isinstance(node, yaml.ScalarNode) else "this"
        fault = f"{written} is a {kind}, which settings cannot contain; if you mean text, put it in quotes"
        if kind in ("null", "bool", "int", "float", "str", "seq", "map"):
            try:
                return super().construct_object(node, deep)
            except (
                ValueError,
                LookupError,
                OverflowError,
            ):  # raised, for example, for a number with thousands of digits or for `!!bool x`
                fault = f"{written} is not a {kind}"
        raise yaml.constructor.ConstructorError(None, None, fault, node.start_mark)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(None, None, "this is not a mapping", node.start_mark)
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                fault = f"the key {key[1][:40]!r} occurs twice; remove one of the two"
                raise yaml.constructor.ConstructorError(None, None, fault, node.value[place][0].start_mark)
        return super().construct_mapping(node, deep)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        fault = ", ".join(part for part in (error.context, error.problem) if part)
        raise UserError(f"{where}: {place}{fault}.") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{where}: line {line} contains a character that YAML does not allow. Remove it.") from error
    except RecursionError as error:
        raise UserError(f"{where}: {_describe_nesting(text)}.") from error
