"""The cluster file: which GPUs it may name, on how many a run may be spread, and what a mistake says."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflab.errors import UserError
from preflab.spec import parse_spec, read_spec
from preflab.study.forecast.cluster import GPUS, ClusterSpec, Gpu


def test_a_cluster_file(tmp_path: Path) -> None:
    """A GPU by its name or by its figures."""
    (tmp_path / "a.yaml").write_text("gpu: H100\nnodes: 8\ndollars: 2.5\n")
    assert read_spec(ClusterSpec, tmp_path / "a.yaml") == ClusterSpec(gpu=GPUS["H100"], nodes=8, dollars=2.5)
    (tmp_path / "b.yaml").write_text("gpu: {memory_gib: 24, tflops: 165, bandwidth: 1.0}\ngpus_per_node: 1\n")
    assert read_spec(ClusterSpec, tmp_path / "b.yaml").gpu == Gpu(memory_gib=24, tflops=165, bandwidth=1.0)


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({"nodes": 1, "gpus_per_node": 8}, [1, 2, 4, 8]),
        ({"nodes": 4, "gpus_per_node": 8}, [1, 2, 4, 8, 16, 32]),
        ({"nodes": 3, "gpus_per_node": 6}, [1, 2, 4, 6, 12]),
        ({"nodes": 1, "gpus_per_node": 1}, [1]),
        ({"nodes": 4, "gpus_per_node": 8, "spread": "all"}, [32]),
    ],
)
def test_a_run_uses_a_power_of_two_or_whole_machines(settings: dict[str, object], counts: list[int]) -> None:
    assert ClusterSpec.model_validate({"gpu": "H100", **settings}).counts() == counts


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"gpu": "H10"}, "unknown GPU 'H10'. Did you mean 'H100'?"),
        ({"nodes": 2}, "`gpu` is missing"),
        ({"gpu": "H100", "node": 2}, "unknown key `node`. Did you mean 'nodes'?"),
        ({"gpu": "H100", "training": 1.2}, "`training`"),
        ({"gpu": {"memory_gib": 80}}, "`gpu.tflops` is missing"),
    ],
)
def test_a_mistake_is_one_line(data: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_spec(ClusterSpec, data, where="cluster.yaml")
    assert message in str(error.value)
