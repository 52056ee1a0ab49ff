"""The study `smoke` against what it measured and decided before: a reorganisation changes no figure.

`python tests/study/test_smoke.py` writes the golden file anew: only on purpose, with the reason in the commit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from preflab.analysis.record import read_results
from preflab.api import run_study
from preflab.study.load import load_study

GOLDEN = Path(__file__).parent / "goldens" / "smoke.json"
ROUNDING = 0.05
"""Another processor rounds otherwise, and a sampled token may then be another one. On one processor nothing differs."""


def measured(directory: Path) -> dict[str, object]:
    """What `smoke` measures and decides, without the answers to read."""
    assert run_study(load_study("smoke"), directory, samples=False, quiet=True).failures == ()
    return json.loads((directory / "results.json").read_text(encoding="utf-8"))


def test_smoke_gives_what_it_gave(tmp_path: Path, script: Callable[[str], ModuleType]) -> None:
    """Protects every number and decision of a study, from its YAML to its results, through any reorganisation."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    compare = script("compare_results").compare
    differences, equal = compare(golden, measured(tmp_path), tolerance=ROUNDING, words=False)
    assert differences == []
    assert equal > 800
    assert read_results(tmp_path / "results.json").samples == ()


if __name__ == "__main__":
    kept = {name: value for name, value in measured(Path(sys.argv[1])).items() if name not in ("timing", "versions")}
    GOLDEN.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
