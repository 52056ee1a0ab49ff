"""Named points at which a test kills the process, to prove that nothing is lost there.

`PREFLAB_FAULT=name` or `name:N` sends SIGKILL to the process when it passes the point for the N-th time (1 by default).
"""

from __future__ import annotations

import os
import signal

_passed: dict[str, int] = {}


def pass_point(name: str) -> None:
    """Kills the process here if the environment asks for it."""
    target, _, count = os.environ.get("PREFLAB_FAULT", "").partition(":")
    if target == name:
        _passed[name] = _passed.get(name, 0) + 1
        if _passed[name] == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
