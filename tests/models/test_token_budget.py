"""The micro-batch of a run that names none."""

from __future__ import annotations

import pytest

from preflab.models.spec import TinyShape
from preflab.models.tiny import make_tiny
from preflab.models.token_budget import choose_token_budget


@pytest.mark.parametrize(("width", "tokens"), [(96, 8192), (256, 3072), (1024, 1024)])
def test_wide_models_get_small_micro_batches(width: int, tokens: int) -> None:
    """786,432 / 96 = 8,192; / 256 = 3,072; / 1024 = 768, which is raised to the least, 1,024. The numbers are pinned,
    since a change of micro-batches changes the last bits of every run that names none."""
    lm = make_tiny(TinyShape(width=width, inner=8, layers=1), seed=0)
    assert choose_token_budget(lm) == tokens
