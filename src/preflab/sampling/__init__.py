"""Samplers by name. `native` is preflab's own; a plugin's `module:Class` or entry point works wherever a name does."""

from __future__ import annotations

from preflab.spec import Registry

SAMPLERS = Registry(
    "sampler", "preflab.samplers", {"native": "preflab.sampling.native:Native"}, "preflab.sampling.spec:SamplerSpec"
)
