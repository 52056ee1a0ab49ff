"""The same against a TRL that runs now: `make parity` builds an environment for each version and calls this."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from tests.parity.agreement import COMPARISONS, TOLERANCE, difference, recorded

pytestmark = pytest.mark.parity

VERSIONS = ("1.16.0", "1.12.0")
RECORD = Path(__file__).resolve().parent / "record.py"
ASKS_VERSION = "import importlib.metadata; print(importlib.metadata.version('trl'))"


def python_with(version: str, repository: Path) -> Path | None:
    """PREFLAB_TRL_PYTHON if that is the version that it has, else the environment that `make parity` builds."""
    named = os.environ.get("PREFLAB_TRL_PYTHON")
    if not named:
        built = repository / ".parity" / f"trl-{version}" / "bin" / "python"
        return built if built.exists() else None
    asked = subprocess.run([named, "-c", ASKS_VERSION], capture_output=True, text=True, timeout=120)
    return Path(named) if asked.stdout.strip() == version else None


@pytest.fixture(scope="module", params=VERSIONS)
def fresh(
    request: pytest.FixtureRequest,
    repository: Path,
    require: Callable[[str, bool, str], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, Any]]:
    """What this TRL computes now, recorded by its own python."""
    python = python_with(request.param, repository)
    require("trl", python is not None, f"needs an environment with TRL {request.param}: make parity")
    target = tmp_path_factory.mktemp("recording") / f"trl-{request.param}.json"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    made = subprocess.run(
        [str(python), str(RECORD), "--output", str(target)], capture_output=True, text=True, timeout=600, env=clean
    )
    assert made.returncode == 0, made.stderr[-4000:]
    return recorded(target.parent)


def test_recording_again_gives_the_goldens(fresh: dict[str, dict[str, Any]]) -> None:
    """Every case of this version, settings and paths as committed, every number within 1e-5."""
    version = next(iter(fresh.values()))["version"]
    committed = {name: case for name, case in recorded().items() if case["version"] == version}
    assert sorted(fresh) == sorted(committed)
    for name, case in committed.items():
        assert [fresh[name][part] for part in ("path", "settings")] == [case[part] for part in ("path", "settings")]
        for part in ("inputs", "outputs"):
            assert list(fresh[name][part]) == list(case[part])
            for key, values in case[part].items():
                now, then = (
                    numpy.asarray(part_values, dtype=float) for part_values in (fresh[name][part][key], values)
                )
                numpy.testing.assert_allclose(now, then, rtol=0, atol=TOLERANCE, err_msg=f"{name}: {key}")


def test_preflab_agrees_with_trl_now(fresh: dict[str, dict[str, Any]]) -> None:
    """The comparison of test_recorded on numbers that no file holds."""
    distances = {
        name: difference(comparison, fresh[name])
        for comparison in COMPARISONS
        for name in comparison.cases
        if name in fresh
    }
    assert len(distances) == len(fresh)
    assert {name: values for name, values in distances.items() if max(values.values()) > TOLERANCE} == {}, json.dumps(
        distances
    )
