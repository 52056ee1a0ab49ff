"""Defines the types of numbers and names in specs. The range that a type allows is checked when a spec is read."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

Count = Annotated[int, Field(ge=1)]
CountOrAll = Annotated[int, Field(ge=0)]
"""A number of items; 0 means all items."""
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
"""A time limit in seconds, at most a day."""


def check_name(name: str) -> str:
    """Returns `name` if a folder can have this name. Otherwise raises `ValueError`."""
    if not re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,99}", name):
        raise ValueError(
            "a name must have 1 to 100 characters; only a-z, A-Z, 0-9, `.`, `_`, `-` and `+` are allowed, and the name "
            "must not begin with a dot"
        )
    return name


Name = Annotated[str, AfterValidator(check_name)]
"""The name of a study, a stage, an arm or an evaluator. Folders, files, measures and reports use this name."""
