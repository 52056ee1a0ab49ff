"""Chooses the launcher of a study: by name, or by the site file in which users describe their cluster once.

A site file `~/.config/preflab/site.yaml` maps the names that `--on` accepts to the settings of launchers:

    default: a100
    launchers:
      a100: {kind: slurm, partition: a100, gpus: 1, minutes: 240}
      desk: {kind: local}
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from preflab.paths import user_path
from preflab.spec import Spec, read_spec, variant
from preflab.study.launchers import LAUNCHERS
from preflab.study.launchers.base import LauncherSpec


class Site(Spec):
    """The content of a site file. `default`: the launcher without `--on`. `launchers`: the settings of launchers, by the
    name that `--on` accepts."""

    default: str = "local"
    launchers: Mapping[str, Annotated[LauncherSpec, *variant(LAUNCHERS)]] = {}


def site_file() -> Path:
    """Returns the path that the environment variable `PREFLAB_SITE` names, or `preflab/site.yaml` in `XDG_CONFIG_HOME` or
    ~/.config."""
    if own := os.environ.get("PREFLAB_SITE"):
        return user_path(own)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "preflab" / "site.yaml"


def choose_launcher(name: str | None) -> LauncherSpec:
    """Returns the settings of the launcher that `--on NAME` or `--on NAME:ADDRESS` names, or of the site file's default
    launcher if `name` is None. A name in the site file hides the launcher of the same name that preflab has. Raises
    `UserError` for an unknown name or an invalid site file."""
    path = site_file()
    is_named = bool(os.environ.get("PREFLAB_SITE"))
    site = read_spec(Site, path) if is_named or path.exists() else Site()
    name = name or site.default
    if name in site.launchers:
        return site.launchers[name]
    kind, _, address = name.partition(":")
    if kind in site.launchers:
        return site.launchers[kind].at(address)
    if kind in LAUNCHERS.names():
        spec = LAUNCHERS.parse(kind)
        return spec.at(address) if address else spec
    return LAUNCHERS.parse(name)
