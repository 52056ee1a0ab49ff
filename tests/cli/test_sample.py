"""`preflab sample`: answers to a prompt, and a chat."""

from __future__ import annotations

import builtins
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from preflab.models.load import load_model
from preflab.models.spec import ModelSpec
from preflab.train.finished import checksums
from preflab.train.sealed import write_sealed

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


@pytest.fixture
def finished(policy: Path, tmp_path: Path) -> Path:
    """A finished run, whose `final/` is the policy."""
    directory = tmp_path / "run"
    shutil.copytree(policy, directory / "final")
    write_sealed(directory / "manifest.json", {"format": 1, "spec": {}})
    write_sealed(directory / "result.json", {"diverged": None, "counts": {}, "files": checksums(directory)})
    return directory


def test_a_finished_run_stands_for_its_model(policy: Path, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects `sample RUN`: the answers are those of the model in `final/`, as `push RUN` sends it."""
    words = ("--prompt", "x", "--max-new-tokens", "8")
    expected = run("sample", policy, *words, capsys=capsys)
    assert expected[0] == 0
    for place in (finished, finished / "final"):
        assert run("sample", place, *words, capsys=capsys) == expected


@pytest.mark.parametrize("place", ["", "final"])
def test_an_altered_model_of_a_run_gives_no_answer(
    finished: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the user from answers of weights that no run has trained: one flipped bit is one line and exit code 2."""
    weights = finished / "final" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    code, out, err = run("sample", finished / place, "--prompt", "x", "--max-new-tokens", "4", capsys=capsys)
    assert (code, out) == (2, "")
    assert f"{weights} is missing or was changed after the run" in err
