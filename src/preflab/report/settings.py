"""Writes a method's settings in the syntax of a study file."""

from __future__ import annotations

import json

from pydantic import JsonValue


def write_value(value: JsonValue) -> str:
    """Returns the value of a setting in the syntax of a study file."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def write_settings(settings: dict[str, JsonValue]) -> str:
    return ", ".join(f"{key} = {write_value(value)}" for key, value in settings.items())
