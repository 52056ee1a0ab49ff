"""preflab against what TRL computed: the recordings stand in for TRL, which need not be installed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.parity.agreement import COMPARISONS, TOLERANCE, Case, Comparison, difference, recorded
from tests.parity.table import GENERATED, generated

from preflab.errors import UserError

CASES = recorded()
PAIRED = [(comparison, name) for comparison in COMPARISONS for name in comparison.cases]


class Read(Mapping[str, Any]):
    """Settings that remember which of them were asked for."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings, self.asked = settings, set[str]()

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return self.settings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.settings)

    def __len__(self) -> int:
        return len(self.settings)


@pytest.mark.parametrize(("comparison", "name"), PAIRED, ids=[name for _, name in PAIRED])
def test_preflab_agrees_with_trl(comparison: Comparison, name: str) -> None:
    """Values and gradients lie within 1e-5 of what TRL's own trainer computed from the same inputs."""
    distances = difference(comparison, CASES[name])
    assert distances and max(distances.values()) <= TOLERANCE, distances


@pytest.mark.parametrize(("comparison", "name"), PAIRED, ids=[name for _, name in PAIRED])
def test_a_setting_that_is_off_shows(comparison: Comparison, name: str) -> None:
    """The inputs tell settings apart: 2% off in any one of those that the comparison reads breaks the agreement.

    So no clip, margin or weight agrees because nothing in the batch reaches it.
    """
    case = CASES[name]
    read = Read(case["settings"])
    difference(comparison, {**case, "settings": read})
    for setting in read.asked:
        value = case["settings"].get(setting)
        if not isinstance(value, float) or not value:
            continue
        off: Case = {**case, "settings": {**case["settings"], setting: 1.02 * value}}
        try:
            distances = difference(comparison, off)
        except UserError:
            continue
        assert max(distances.values()) > TOLERANCE, f"{setting}: {distances}"


def test_every_recorded_case_is_compared_once() -> None:
    """No recording lies unread, and no comparison counts a case of another."""
    assert sorted(name for _, name in PAIRED) == sorted(CASES)


def test_recordings_name_what_the_environments_install(repository: Path) -> None:
    """A golden file is of the TRL, transformers and torch that its requirements pin."""
    folder = repository / "tests" / "parity"
    shared = (folder / "requirements-shared.txt").read_text(encoding="utf-8")
    for path in sorted((folder / "goldens").glob("trl-*.json")):
        head = path.read_text(encoding="utf-8").splitlines()[0]
        versions = dict(re.findall(r'"(\w+)": "([\d.]+)', head))
        pins = shared + (folder / f"requirements-{path.stem}.txt").read_text(encoding="utf-8")
        assert set(versions) == {"trl", "transformers", "torch"}
        assert [pin for name, version in versions.items() if (pin := f"{name}=={version}") not in pins.split()] == []


def test_the_page_is_what_the_recordings_say(repository: Path) -> None:
    """docs/parity.md holds the generated table and notes; the last digits of a figure may be another machine's."""
    page = (repository / "docs" / "parity.md").read_text(encoding="utf-8")
    block = GENERATED.search(page)
    assert block is not None
    figures = re.compile(r"\d\.\de-\d\d|(?<=\| )0(?= \|)")
    assert figures.sub("#", block.group()) == figures.sub("#", generated()), "python -m tests.parity.table --write"
    assert all(float(figure) <= TOLERANCE for figure in figures.findall(block.group()))
