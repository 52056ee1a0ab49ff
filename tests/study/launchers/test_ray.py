"""Ray: a study on two raylets of this machine, one of which is killed. Slow, and only where Ray is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(require: Callable[[str, bool, str], None]) -> Iterator[Any]:
    """Two raylets with one core each."""
    require("ray", find_spec("ray") is not None, "needs Ray: pip install 'preflab[ray]'")
    from ray.cluster_utils import Cluster

    memory = 200 << 20
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": memory, "include_dashboard": False}
    )
    cluster.add_node(num_cpus=1, object_store_memory=memory)
    yield cluster
    cluster.shutdown()


def start(output: Path, site: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "preflab", "study", "smoke", "--output", str(output), "--on", "here", "-q"]
    return subprocess.Popen(command, env={**os.environ, "PREFLAB_SITE": str(site)})


def read(output: Path) -> Any:
    return json.loads((output / "results.json").read_text())


@pytest.mark.parametrize("shared", [True, False])
def test_a_lost_machine_changes_no_number(
    cluster: Any, shared: bool, tmp_path: Path, script: Callable[[str], ModuleType]
) -> None:
    """A raylet is killed while a run is on it, and replaced. The study starts the run again elsewhere, and ends with the
    numbers of a local study, whether the machines share the directory or the files are carried. Nothing is left over."""
    site = tmp_path / "site.yaml"
    site.write_text(yaml.safe_dump({"launchers": {"here": {"kind": "local"}}}))
    assert start(tmp_path / "local", site).wait(600) == 0
    settings = {"kind": "ray", "address": cluster.address, "shared": shared}
    site.write_text(yaml.safe_dump({"launchers": {"here": settings}}))
    study = start(tmp_path / "ray", site)
    while not list((tmp_path / "ray").rglob("*.order.json")):
        time.sleep(0.5)
        assert study.poll() is None
    time.sleep(8)  # the runs are on the machines
    cluster.remove_node(next(node for node in cluster.worker_nodes), allow_graceful=False)
    cluster.add_node(num_cpus=1, object_store_memory=200 << 20)
    assert study.wait(600) == 0
    differences, equal = script("compare_results").compare(read(tmp_path / "local"), read(tmp_path / "ray"))
    assert (differences, equal > 1000) == ([], True)
    left = [path for path in (tmp_path / "ray").rglob("*") if ".attempt-" in path.name or "order.json" in path.name]
    assert left == []
