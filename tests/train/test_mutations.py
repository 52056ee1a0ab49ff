"""Run directories damaged at random: each ends in the right result, or in one line that says what is damaged."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from .conftest import EVERY_STEP, Forks, Undisturbed, arm, outcome

MUTATIONS = 75  # of each of the four runs


class Start(NamedTuple):
    """A run directory to damage: its method, and the point at which it was killed ('' for a run that has finished)."""

    method: str
    fault: str


STARTS = [
    Start("sft", "update.after:3"),
    Start("ppo", "evaluation"),
    Start("dpo-iter", "update.after:3"),
    Start("sft", ""),
]


def flip(path: Path, source: random.Random) -> None:
    """One bit."""
    data = bytearray(path.read_bytes())
    if data:
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    path.write_bytes(bytes(data))


def cut(path: Path, source: random.Random) -> None:
    """Its end is gone."""
    path.write_bytes(path.read_bytes()[: source.randrange(path.stat().st_size + 1)])


def zero(path: Path, source: random.Random) -> None:
    """A block that the disk never wrote."""
    data = bytearray(path.read_bytes())
    start = source.randrange(len(data) + 1)
    data[start:] = bytes(len(data) - start)
    path.write_bytes(bytes(data))


def delete(path: Path, source: random.Random) -> None:
    path.unlink()


MUTATORS: dict[str, Callable[[Path, random.Random], None]] = {"flip": flip, "cut": cut, "zero": zero, "delete": delete}


def mutate(directory: Path, source: random.Random) -> tuple[str, list[Path]]:
    """Damages a file of a run, or lets two change places; returns how, and the paths in the run."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    kind = source.choice([*MUTATORS, "swap"])
    if kind == "swap":
        first, second = source.sample(files, 2)
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
        return kind, [first.relative_to(directory), second.relative_to(directory)]
    path = source.choice(files)
    MUTATORS[kind](path, source)
    return kind, [path.relative_to(directory)]


def must_go_on(whole: Path, paths: list[Path]) -> bool:
    """Whether the damage leaves an older checkpoint intact, and all that it stands on."""
    *older, newest = sorted(path.name for path in whole.glob("checkpoints/step-*"))
    assert older
    return all(path.parts[:2] == ("checkpoints", newest) or path.parts[0] == "best" for path in paths)


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS, ids=lambda start: f"{start.method}-{start.fault or 'finished'}")
def test_mutated_run_directories(forks: Forks, undisturbed: Undisturbed, tmp_path: Path, start: Start) -> None:
    """Protects every file of a run: flipped, cut, zeroed, deleted, swapped. The run ends with the undamaged run's bytes, or
    with exit code 2 and a line. A finished run whose files are damaged says which, and its result stands."""
    whole = tmp_path / "whole"
    assert forks.run(arm(start.method), whole, fault=start.fault) == (-signal.SIGKILL if start.fault else 0)
    right = undisturbed(start.method)
    went_on = 0
    for seed in range(MUTATIONS):
        directory = tmp_path / "damaged"
        shutil.rmtree(directory, ignore_errors=True)
        log = Path(f"{directory}.log")
        log.unlink(missing_ok=True)
        shutil.copytree(whole, directory)
        kind, paths = mutate(directory, random.Random(f"{start} {seed}"))
        code = forks.run(arm(start.method), directory, keeping=EVERY_STEP)
        words = log.read_text()
        case = f"mutation {seed}: {kind} of {', '.join(map(str, paths))}: code {code}\n{words}"
        assert code in (0, 2), case
        assert "Traceback" not in words, case
        if code == 2:
            assert not (start.fault and must_go_on(whole, paths)), case
            assert words.splitlines()[-1].startswith("preflab: "), case
            continue
        went_on += 1
        ended = outcome(directory) if (directory / "final").exists() else {}
        differing = {name for name in right if ended.get(name) != right[name]}
        assert differing <= {str(path) for path in paths}, case
        assert not (differing and start.fault), case
        assert all(name in words for name in differing), case
    assert 0 < went_on < MUTATIONS
