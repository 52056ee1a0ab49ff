"""The vetted defaults: what every method's spec is where nobody sets anything.

Studies say in their files what they change, and nothing else; a default that moves changes what they ran. `defaults.json`
was written from the specs as they stood when the studies of `docs/results` ran.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.methods import METHODS

DEFAULTS: dict[str, Any] = json.loads((Path(__file__).parent / "defaults.json").read_text(encoding="utf-8"))
NEEDED = {"warm": {"models": ["a", "b"]}}  # the settings that have no default


def test_every_method_has_its_defaults_written_down() -> None:
    """No method is left out, and none is named that is gone."""
    assert set(DEFAULTS) == set(METHODS.known)


@pytest.mark.parametrize("kind", DEFAULTS)
def test_the_defaults_are_what_they_were(kind: str) -> None:
    """Field by field, those of the optimizer, the sampling and the draws included."""
    spec = METHODS.parse({"kind": kind, **NEEDED.get(kind, {})})
    assert spec.model_dump(mode="json") == DEFAULTS[kind]
