"""Writes the settings of a method as they are written in a study file."""

from __future__ import annotations

import json

from pydantic import JsonValue


def write_value(value: JsonValue) -> str:
    """Returns the value of a setting as it is written in a study file: a string without quotes, any other value as
    JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def write_settings(settings: dict[str, JsonValue]) -> str:
    return ", ".join(f"{key} = {write_value(value)}" for key, value in settings.items())
