"""`preflab sample`: answers to a prompt, and a chat."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path

import pytest

from preflab.models.load import load_model
from preflab.models.spec import ModelSpec

from .running import run


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("policy")
    load_model(ModelSpec(name="tiny"), seed=0).save(directory)
    return directory


def test_the_same_seed_gives_the_same_answers(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects reproduction: k answers with a rule between them, the same again for the same seed, others for another, and
    nothing in them acts on the terminal."""
    words = ("sample", policy, "--prompt", "x", "-k", "3", "--max-new-tokens", "8")
    code, out, err = run(*words, capsys=capsys)
    assert (code, err) == (0, "")
    assert out.count("─ 2 ─") == 1 and "─ 4 ─" not in out
    assert all(char.isprintable() or char == "\n" for char in out)
    assert run(*words, capsys=capsys)[1] == out
    assert run(*words, "--seed", "1", capsys=capsys)[1] != out


def test_chat_ends_at_an_empty_line(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the chat: one answer a line, each after all turns before it; an empty line and the end of input end it."""

    def type_lines(*lines: str) -> None:
        typed: Iterator[str] = iter(lines)

        def read(prompt: str) -> str:
            try:
                return next(typed)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr(builtins, "input", read)

    words = ("sample", policy, "--max-new-tokens", "4")
    type_lines("one", "two", "", "three")
    code, out, _ = run(*words, capsys=capsys)
    assert code == 0
    assert out.count("model: ") == 2
    type_lines("one")
    code, first, _ = run(*words, capsys=capsys)
    assert code == 0
    assert out.startswith(first.rstrip("\n"))
