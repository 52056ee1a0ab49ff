"""What a user wrote as a path: `~`, and texts that no path can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflab.errors import UserError
from preflab.paths import cache_directory, user_path
from preflab.rewards import parse_reward


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may be absent, also below a file; the home of a user whom nobody knows stays a name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file").touch()
    assert user_path("~/file") == tmp_path / "file"
    for absent in ("nowhere", str(tmp_path / "file" / "below"), "~no-such-user/x"):
        assert user_path(absent) == Path(absent)


@pytest.mark.parametrize(
    ("text", "reason"), [("x" * 5000, "File name too long"), ("a\0b", "null byte"), ("\ud800", "surrogate")]
)
def test_texts_that_no_path_can_be(text: str, reason: str) -> None:
    """One short line, and not a traceback; a reward is named by such a text too."""
    for read, says in ((user_path, reason), (parse_reward, "Unknown reward")):
        with pytest.raises(UserError, match=says) as refusal:
            read(text)
        assert len(str(refusal.value)) < 400


def test_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Protects users with little disk space at home: PREFLAB_CACHE, else XDG_CACHE_HOME, else ~/.cache."""
    monkeypatch.delenv("PREFLAB_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "preflab"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_directory() == Path("/xdg/preflab")
    monkeypatch.setenv("PREFLAB_CACHE", "/own")
    assert cache_directory() == Path("/own")
