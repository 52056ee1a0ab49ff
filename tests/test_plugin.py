"""examples/plugin: installed as a package of its own, it is found by name wherever preflab's own parts are."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from preflab.errors import UserError
from preflab.rewards import REWARDS, parse_reward
from preflab.rewards.tests import Tests
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.testbeds.provenance import refuse_overlap
from preflab.types import Completion


@pytest.fixture(scope="module")
def installed(
    repository: Path, require: Callable[[str, bool, str], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The plugin as pip installs it, on this process's path for as long as the tests here run."""
    require("setuptools", importlib.util.find_spec("setuptools") is not None, "needs pip install setuptools")
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(repository / "examples" / "plugin", folder / "source")  # building writes beside the sources
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
        + ["--target", str(folder / "site"), str(folder / "source")],
        check=True,
    )
    sys.path.append(str(folder / "site"))
    importlib.invalidate_caches()
    yield folder / "site"
    sys.path.remove(str(folder / "site"))
    for name in [name for name in sys.modules if name.split(".")[0] == "preflab_example"]:
        del sys.modules[name]


def test_names_come_and_go_with_the_package(installed: Path) -> None:
    """Its names stand beside preflab's own, and a misspelt one is corrected to them."""
    assert {"brevity", "tests", "function"} <= set(REWARDS.names())
    assert {"sums", "minicode"} <= set(TESTBEDS.names())
    with pytest.raises(UserError, match="Did you mean 'brevity'"):
        parse_reward("brevty")


def test_its_reward_is_like_preflabs_own(installed: Path) -> None:
    """By name, with settings, by path, and back from a run file; 3 words against 1 at .5 a word cost 1."""
    spec = REWARDS.parse({"kind": "brevity", "target": 1, "penalty": 0.5})
    assert REWARDS.parse(REWARDS.dump(spec)) == spec and REWARDS.dump(spec)["kind"] == "brevity"
    assert type(parse_reward("brevity")) is type(parse_reward("preflab_example.brevity:Brevity")) is type(spec)
    with spec.open(Context()) as reward:
        assert reward.score([], [Completion("one two three"), Completion("one")]) == [-1.0, 0.0]
    with pytest.raises(UserError, match=r"unknown key `targt`\. Did you mean 'target'"):
        REWARDS.parse({"kind": "brevity", "targt": 3})


def test_its_testbed_serves_preflabs_reward(installed: Path) -> None:
    """The code reward takes its training tests and its judge; splits share nothing; the provenance shows an overlap."""
    with TESTBEDS.parse({"kind": "sums", "largest": 9}).open(Context()) as testbed:
        train = testbed.prompts("train")
        with Tests().open(Context(testbed=testbed)) as reward:
            right = [record.completion for record in testbed.demonstrations("train")]
            wrong = [pair.rejected for pair in testbed.preferences("train")]
            assert reward.score(train, right) == [10.0] * 80 and reward.score(train, wrong) == [0.0] * 80
        ids = [{prompt.id for prompt in testbed.prompts(split)} for split in ("train", "validation", "test")]
        assert [len(split) for split in ids] == [80, 10, 10] and len(set.union(*ids)) == 100
        assert not any(problem.hidden_tests for problem in testbed.prompts("test"))
        assert set(testbed.hidden_tests("test")) == ids[2]
        with pytest.raises(UserError, match=r"another model was trained on sums \(part train\)\. 100\.0% of"):
            refuse_overlap(testbed.provenance(), [testbed.provenance()])
