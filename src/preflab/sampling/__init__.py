"""Defines `SAMPLERS`, the registry that maps names to samplers. A plugin's sampler has the name `module:Class` or the
name of its entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from preflab.spec import Registry

if TYPE_CHECKING:
    from preflab.sampling.spec import SamplerSpec

SAMPLERS: Registry[SamplerSpec] = Registry(
    "sampler",
    "preflab.samplers",
    {"native": "preflab.sampling.native:Native", "vllm": "preflab.sampling.vllm.sampler:Vllm"},
    "preflab.sampling.spec:SamplerSpec",
)
