"""What the tests of testbeds share: a cache of their own, so that no test depends on what another run remembered."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the folder in which preflab remembers what it found."""
    monkeypatch.setenv("PREFLAB_CACHE", str(tmp_path / "cache"))
