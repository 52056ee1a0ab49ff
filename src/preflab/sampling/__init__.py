"""The registry of samplers by name; a plugin's sampler is named by `module:Class` or by its entry point."""

from __future__ import annotations

from preflab.spec import Registry

SAMPLERS = Registry(
    "sampler", "preflab.samplers", {"native": "preflab.sampling.native:Native"}, "preflab.sampling.spec:SamplerSpec"
)
