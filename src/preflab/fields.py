"""The types of the numbers in specs, each with its range, which is checked when a spec is read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=1)]
CountOrAll = Annotated[int, Field(ge=0)]
"""0 means all."""
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
"""A time limit: at most a day."""
