"""The types of the numbers and the names in specs. Each type has a range, which is checked when a spec is read."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

Count = Annotated[int, Field(ge=1)]
CountOrAll = Annotated[int, Field(ge=0)]
"""0 means all."""
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
"""A time limit: at most a day."""


def check_name(name: str) -> str:
    """Returns the name if it can be the name of a folder. Raises `ValueError` for any other name."""
    if not re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,99}", name):
        raise ValueError(
            "a name has 1 to 100 of the letters A to Z, digits, `.`, `_`, `-` and `+`, and no dot at its begin"
        )
    return name


Name = Annotated[str, AfterValidator(check_name)]
"""The name of a study, a stage, an arm or an evaluator: it names a folder, a file or a measure, and stands in reports."""
