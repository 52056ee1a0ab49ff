"""The page that says how often a study's outcomes repeat under other seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from preflab.report import Results

Script = Callable[[str], ModuleType]


@pytest.fixture
def published(script: Script, repository: Path) -> Results:
    return script("publish_results").read_record(repository / "docs" / "results" / "quickstart.json.gz")


def repeat(results: Results, first_seed: int, **changes: object) -> Results:
    return results.model_copy(update={"seeds": tuple(first_seed + seed for seed in results.seeds), **changes})


def test_each_outcome_is_counted(script: Script, published: Results) -> None:
    """Two repetitions. In one of them the first comparison has another outcome, so that it came again once of twice."""
    first, *others = published.comparisons
    verdict = "not decided" if first.verdict == "better" else "better"
    changed = repeat(published, 200, comparisons=(first.model_copy(update={"verdict": verdict}), *others))
    lines = script("repeats").write_page([published, repeat(published, 100), changed]).splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][2:]
    counts = {row[0]: row[-1] for row in rows}
    assert counts.pop(f"{first.first} − {first.second}, with greedy decoding") == "1 of 2"
    assert len(counts) == 2 + len(others) and set(counts.values()) == {"2 of 2"}


def test_what_is_not_a_repetition_is_refused(script: Script, published: Results) -> None:
    """The same seeds are not evidence, and neither is a study with other arms."""
    with pytest.raises(SystemExit, match="must not share seeds"):
        script("repeats").write_page([published, published])
    with pytest.raises(SystemExit, match="not repetitions of one study"):
        script("repeats").write_page([published, repeat(published, 100, arms=published.arms[1:])])
