"""Describes a cluster for `preflab study --plan --cluster FILE`. This module does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from preflab.errors import nearest
from preflab.spec import Spec


class Gpu(Spec):
    """A GPU. `memory_gib`: its memory in GiB. `tflops`: the peak of dense bf16 arithmetic in TFLOP/s. `bandwidth`: the peak
    of its memory in TB/s."""

    memory_gib: float = Field(gt=0)
    tflops: float = Field(gt=0)
    bandwidth: float = Field(gt=0)


GPUS: Mapping[str, Gpu] = {
    "A100": Gpu(memory_gib=80, tflops=312, bandwidth=2.0),
    "H100": Gpu(memory_gib=80, tflops=989, bandwidth=3.35),
    "H200": Gpu(memory_gib=141, tflops=989, bandwidth=4.8),
}
"""The GPUs that a cluster file may name, with the figures of NVIDIA's data sheets (SXM, without sparsity)."""


def _from_name(value: Any) -> Any:
    """Returns the GPU of a name. Raises `ValueError`, which pydantic reports, for an unknown name."""
    if not isinstance(value, str):
        return value
    if value not in GPUS:
        raise ValueError(f"unknown GPU {value!r}.{nearest(value, GPUS)} Known: {', '.join(GPUS)}, or give its figures")
    return GPUS[value]


class ClusterSpec(Spec):
    """The content of a cluster file.

    `gpu`: the name of a GPU, or its figures. `nodes`: the number of machines. `gpus_per_node`: the GPUs of each machine.
    `training`, `reading`: the share of the peak arithmetic that training and forward passes reach. Llama 3 was trained at
    38% to 43% (Dubey et al. 2024, Table 4). `decoding`: the share of the memory's peak bandwidth that drawing tokens
    reaches. `dollars`: the price of a GPU for an hour. `spread`: whether each run uses the fewest GPUs that hold it, so that
    many runs run at a time, or all GPUs of the cluster.
    """

    gpu: Annotated[Gpu, BeforeValidator(_from_name)]
    nodes: int = Field(default=1, ge=1)
    gpus_per_node: int = Field(default=8, ge=1)
    training: float = Field(default=0.4, gt=0, le=1)
    reading: float = Field(default=0.5, gt=0, le=1)
    decoding: float = Field(default=0.5, gt=0, le=1)
    dollars: float | None = Field(default=None, gt=0)
    spread: Literal["fewest", "all"] = "fewest"

    @property
    def gpus(self) -> int:
        """The number of GPUs."""
        return self.nodes * self.gpus_per_node

    def counts(self) -> list[int]:
        """Returns the numbers of GPUs that a run may use: 1, 2, 4, … of a machine, then whole machines."""
        if self.spread == "all":
            return [self.gpus]
        within = [2**power for power in range(self.gpus_per_node.bit_length()) if 2**power < self.gpus_per_node]
        whole = [2**power for power in range(self.nodes.bit_length()) if 2**power <= self.nodes]
        return [*within, *(self.gpus_per_node * nodes for nodes in whole)]
