"""The page of all claims says what the committed records say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from preflab.analysis.record import Interval, known_measure


def test_the_page_is_current(script: Callable[[str], ModuleType], repository: Path) -> None:
    """Protects the outcomes: the page is what the script makes of the records and presets of today."""
    written = (repository / "docs" / "results" / "index.md").read_text(encoding="utf-8")
    assert written == script("claims_index").index(), "renew it: scripts/claims_index.py > docs/results/index.md"


def test_what_a_study_detects_follows_from_its_interval(script: Callable[[str], ModuleType]) -> None:
    """Protects the column "detectable": half the width of [-.01, .05] is .03, and t(.8; 4) = .941 standard errors of .01 add
    .0094: 3.9 points."""
    page = script("claims_index")
    metric = known_measure("pass@1")
    assert page.write_detectable(metric, Interval(estimate=0.02, low=-0.01, high=0.05, se=0.01, df=4)) == "3.9 points"
    assert page.write_detectable(metric, Interval(estimate=0.02)) == "—"
