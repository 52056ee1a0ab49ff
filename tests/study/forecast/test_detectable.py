"""What a study can detect is said before it runs: from its pilot, or from its own finished runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.study.results.test_make import runs, study

from preflab.analysis.statistics import detectable_difference
from preflab.cli.plan import format_plan
from preflab.study.forecast import detectable
from preflab.study.forecast.detectable import OWN_RUNS, Detectable, detectable_claims
from preflab.study.forecast.make import Forecast, ForecastRow

PILOT = {"source": "a pilot of three seeds", "seed_sd": 0.01, "problem_sd": 0.13, "noise_sd": 0.35}
CLAIM = {"id": "C6", "part": "batch", "text": "It helps.", "contrast": {"ppo": 1, "dpo": -1}, "margin": 0.03}
DOUBLE = {"id": "C3", "text": "It helps more.", "contrast": {"ppo": 2, "dpo": -1, "sft": -1}, "margin": 0.03}


def test_the_pilot_is_scaled_to_the_contrast(tmp_path: Path) -> None:
    """Two claims at two decodings are a family of four. The pilot's deviations are those of a difference (1 + 1 = 2); the
    contrast 2, -1, -1 has squared weights of 6, so that its deviations are sqrt(6/2) times as large."""
    spec = study(claims=[CLAIM, DOUBLE], pilot=PILOT)
    first, second = detectable_claims(spec, tmp_path, 1000)
    design = {"seeds": 5, "problems": 1000, "family": 4.0, "power": 0.8}
    plain = {name: value for name, value in PILOT.items() if isinstance(value, float)}
    assert first == Detectable(
        "C6 (batch)", "pass@1", pytest.approx(detectable_difference(**plain, **design)), 0.03, PILOT["source"]
    )
    wider = {name: 3**0.5 * value for name, value in plain.items()}
    assert second.difference == pytest.approx(detectable_difference(**wider, **design))


def test_the_studys_own_runs_count_before_the_pilot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a continued study from deviations of other runs: runs of another spec do not count. Without a pilot, a claim
    without finished runs is left out, and so are all if the runs will be replaced."""
    runs(tmp_path, {"ppo": 0.8, "dpo": 0.3})
    assert detectable_claims(study(claims=[CLAIM]), tmp_path, 12) == []
    monkeypatch.setattr(detectable, "is_done", lambda run: run.result_file.exists())
    spec = study(claims=[CLAIM, DOUBLE], pilot=PILOT)
    assert [row.source for row in detectable_claims(spec, tmp_path, 12)] == [OWN_RUNS, PILOT["source"]]
    assert [row.claim for row in detectable_claims(study(claims=[CLAIM, DOUBLE]), tmp_path, 12)] == ["C6 (batch)"]
    assert detectable_claims(study(claims=[CLAIM, DOUBLE]), None, 12) == []
    assert detectable_claims(study(pilot=PILOT), tmp_path, 12) == []


def test_the_plan_says_what_a_claim_may_miss() -> None:
    """Protects the reader before the runs: the detectable difference stands beside the margin, and a claim that may miss a gain
    of the margin says so."""
    forecast = Forecast(
        (ForecastRow("arm", "ppo", "ppo", 5, 0, 60.0),),
        at_once=2,
        seconds=150.0,
        detectable=(
            Detectable("C6 (batch)", "pass@1", 0.041, 0.03, "a pilot"),
            Detectable("C3", "pass@1", 0.021, 0.03, "a pilot"),
        ),
    )
    lines = format_plan(study(), forecast).splitlines()[-3:]
    assert lines[0] == "  What each claim can detect in 80% of studies, estimated from a pilot:"
    assert lines[1] == "  C6 (batch) 4.1 points of pass@1, margin 3.0 points: a gain of this size may stay undecided"
    assert lines[2] == "  C3         2.1 points of pass@1, margin 3.0 points"
