"""Defines `LAUNCHERS`, the registry that maps names to launchers. A launcher starts the runs of a study: on this machine,
or on the machines of a cluster. A plugin's launcher has the name `module:Class` or the name of its entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from preflab.spec import Registry

if TYPE_CHECKING:
    from preflab.study.launchers.base import LauncherSpec

_HERE = "preflab.study.launchers"
LAUNCHERS: Registry[LauncherSpec] = Registry(
    "launcher",
    "preflab.launchers",
    {"local": f"{_HERE}.local:Local", "ray": f"{_HERE}.ray:Ray", "slurm": f"{_HERE}.slurm:Slurm"},
    f"{_HERE}.base:LauncherSpec",
)
