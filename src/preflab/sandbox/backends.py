"""Opens a backend of the sandbox by its name, or by `module:Class` for a user's own class derived from `Walls`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from preflab.errors import UserError, nearest
from preflab.sandbox.bare import Bare
from preflab.sandbox.bubblewrap import Bubblewrap
from preflab.sandbox.walls import Walls
from preflab.targets import load_object

BACKENDS: Mapping[str, Callable[[], Walls]] = {"bubblewrap": Bubblewrap, "bare": Bare}


def open_backend(name: str, packages: Sequence[str] = ()) -> Walls:
    """Opens the backend called `name`, and makes the `packages` importable for programs. Raises `UserError` if there is
    no such backend, or if this machine cannot run the backend."""
    walls = _build_walls(name)
    walls.furnish(packages)
    return walls


def _build_walls(name: str) -> Walls:
    if not sys.platform.startswith("linux"):
        raise UserError(
            f"Every backend of the sandbox needs Linux, including {name!r}. On {sys.platform}, run preflab in a "
            "Linux container or virtual machine."
        )
    if name in BACKENDS:
        return BACKENDS[name]()
    if ":" in name:
        walls = load_object(name, "sandbox backend")()
        if isinstance(walls, Walls):
            return walls
        raise UserError(f"The sandbox backend {name!r} does not derive from {Walls.__module__}.Walls.")
    raise UserError(f"Unknown sandbox backend {name!r}.{nearest(name, BACKENDS)}")
