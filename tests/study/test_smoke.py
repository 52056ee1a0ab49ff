"""The study `smoke` against what it measured and decided before: a reorganisation changes no figure.

`python tests/study/test_smoke.py` writes the golden file anew: only on purpose, with the reason in the commit.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from preflab.analysis.record import read_results
from preflab.api import run_study
from preflab.study.load import load_study

GOLDEN = Path(__file__).parent / "goldens" / "smoke.json"
ROUNDING = 1e-3
"""Another processor rounds otherwise: between two processors, numbers differed by 6e-7. A third may differ by more. On one
processor none differs."""
NOISY = "ppo"
"""The arm whose numbers may differ by more. No answer of this small study is right, so that nothing but rounding is left of the
advantages, which PPO normalises. Another processor therefore makes another small update, and samples another token."""
FEW_ANSWERS = 3 / 60
"""The most by which a number of the noisy arm may differ: a share of its 60 answers (12 problems, 5 samples), if the outcomes
of three answers change. One answer differed between two processors."""
WIDENED = FEW_ANSWERS * 12.71 / 2
"""The same for the ends of an interval. The interval's half width is half the difference of the two seeds times the quantile
of t with one degree of freedom."""


def measured(directory: Path) -> dict[str, object]:
    """What `smoke` measures and decides, without the answers to read."""
    assert run_study(load_study("smoke"), directory, samples=False, quiet=True).failures == ()
    return json.loads((directory / "results.json").read_text(encoding="utf-8"))


def test_smoke_gives_what_it_gave(tmp_path: Path, script: Callable[[str], ModuleType]) -> None:
    """Protects every number and decision of a study, from its YAML to its results, through any reorganisation."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    compare = script("compare_results").compare
    found = measured(tmp_path)
    place = [arm["name"] for arm in golden["arms"]].index(NOISY)
    differences, equal = compare(golden, found, tolerance=ROUNDING, words=False)
    assert [line for line in differences if not line.startswith(f"arms[{place}].")] == []
    assert equal > 1300
    noisy = golden["arms"][place], found["arms"][place]
    differences, _ = compare(*noisy, tolerance=FEW_ANSWERS, words=False)
    assert [line for line in differences if not re.match(r"measures\[\d+\]\.value\.(low|high):", line)] == []
    assert compare(*noisy, tolerance=WIDENED, words=False)[0] == []
    assert read_results(tmp_path / "results.json").samples == ()


if __name__ == "__main__":
    kept = {name: value for name, value in measured(Path(sys.argv[1])).items() if name not in ("timing", "versions")}
    GOLDEN.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
