"""Every preset on an embedded testbed runs whole, from its first stage to its report, at a size of seconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from preflab.analysis.record import read_results
from preflab.api import run_study
from preflab.spec import parse_spec
from preflab.study.load import PRESETS, load_study
from preflab.study.spec import Study
from preflab.types import Prompt

EMBEDDED = sorted(
    path.stem
    for path in PRESETS.glob("*.yaml")
    if re.search(r"kind: (minicode|sentiment|safeworld)\b", path.read_text())
)
SMALLER: dict[str, Any] = {
    "steps": 1,
    "epochs": 1,
    "rounds": 1,
    "rollouts": 8,
    "mini_batches": 1,
    "group": 4,
    "batch_size": 8,
    "pairs": 8,
    "rankings": 4,
    "examples": 8,
    "prompts": 8,
    "max_new_tokens": 5,
    "rule": "best-worst",
}
"""What a setting of a method becomes, wherever it is found."""
ROWS = {"train": 32, "validation": 8, "test": 8}
EVALUATION = {
    "samples": 2,
    "k": [1],
    "temperatures": [1.0],
    "validation_samples": 1,
    "max_new_tokens": 5,
    "kl_samples": 4,
}


def length(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
    """The reward in place of the tests: one in which an untrained model's samples differ."""
    return [float(len(text)) for text in texts]


def smaller(settings: Any) -> Any:
    """A method's settings, at the sizes above, and without a bar for what is right."""
    if not isinstance(settings, dict):
        return settings
    return {key: SMALLER.get(key, smaller(value)) for key, value in settings.items() if key not in {"right", "levels"}}


def small_run(run: dict[str, Any]) -> dict[str, Any]:
    """A stage or an arm."""
    tested = (run["reward"] or {}).get("kind") == "tests"
    reward = {"kind": "function", "target": "tests.study.test_presets:length"} if tested else run["reward"]
    return run | {
        "plateau": None,
        "method": smaller(run["method"]),
        "reward": reward,
        "testbed": run["testbed"] and run["testbed"] | ROWS,
    }


def shrunk(name: str) -> Study:
    content = load_study(name).model_dump(mode="json")
    content |= {
        "testbed": content["testbed"] | ROWS,
        "model": {"name": "tiny", "tiny": {"width": 16, "inner": 16, "layers": 1, "heads": 2}},
        "evaluation": EVALUATION,
        "seeds": 2,
        "seed_looks": (),
        "looks": 1,
        "budget": None,
        "tuning": None,
    }
    for runs in (content["stages"], content["arms"]):
        runs |= {label: small_run(run) for label, run in runs.items()}
    return parse_spec(Study, content, where=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", EMBEDDED)
def test_a_preset_runs_to_its_report(name: str, tmp_path: Path) -> None:
    """Protects the presets that nobody has run lately: each stage hands on what the next one needs, every arm is trained
    and evaluated, and every claim is decided."""
    study = shrunk(name)
    assert run_study(study, tmp_path, quiet=True).failures == ()
    results = read_results(tmp_path / "results.json")
    assert {arm.name for arm in results.arms} == set(study.arms)
    assert len(results.claims) == len(study.claims)
