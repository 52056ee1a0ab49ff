"""Reads and writes JSON like `json.loads` and `json.dumps`, but starts faster.

In the sandbox, preflab's own code is imported before the program runs, so slow imports delay each program. The module
`json` also imports `re` and `enum`, which takes twice as long as building the sandbox. This module uses the same C
functions as `json` does, without these imports.
"""

from __future__ import annotations

import _json

TYPE_CHECKING = False
"""The name by which type checkers know imports that only they need, without the import of `typing`, which takes long."""
if TYPE_CHECKING:
    from typing import Any

_SPACE = " \t\r\n"


class _Reading:
    """The settings of the C function that reads JSON: the same as those of `json.loads`."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": -float("inf")}.__getitem__


def _refuse(value: object) -> Any:
    raise TypeError(f"a {type(value).__name__} is not JSON data")


_read = _json.make_scanner(_Reading())  # pyright: ignore[reportArgumentType] (it takes any object with these fields)
_write = _json.make_encoder(None, _refuse, _json.encode_basestring_ascii, None, ":", ",", False, False, True)


def decode_json(text: str | bytes) -> Any:
    """Returns the value in a JSON text. Raises `ValueError` if the text is not one JSON value."""
    if isinstance(text, bytes):
        text = text.decode()
    text = text.strip(_SPACE)
    try:
        value, end = _read(text, 0)
    except StopIteration:
        raise ValueError("the text has no JSON value") from None
    if end != len(text):
        raise ValueError(f"after the JSON value, {len(text) - end} characters follow")
    return value


def encode_json(value: Any) -> str:
    """Returns JSON data as one line of ASCII without spaces. Raises `TypeError` if the value is not JSON data."""
    return "".join(_write(value, 0))
