"""The backends by name. Another one, such as a virtual machine, is a class like these: `module:Class`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from preflab.errors import UserError, nearest
from preflab.sandbox.bare import Bare
from preflab.sandbox.bubblewrap import Bubblewrap
from preflab.sandbox.walls import Walls
from preflab.targets import load_object

BACKENDS: Mapping[str, Callable[[], Walls]] = {"bubblewrap": Bubblewrap, "bare": Bare}


def backend(name: str) -> Walls:
    """The backend of that name, opened; raises `UserError` where there is none, or this machine cannot build it."""
    if not sys.platform.startswith("linux"):
        raise UserError(
            f"The sandbox needs Linux, also the backend {name!r}; on {sys.platform} run preflab in a Linux container or "
            "virtual machine."
        )
    if name in BACKENDS:
        return BACKENDS[name]()
    if ":" in name:
        return load_object(name, "sandbox backend")()
    raise UserError(f"Unknown sandbox backend {name!r}.{nearest(name, BACKENDS)}")
