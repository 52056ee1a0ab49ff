"""Defines named points at which a test can kill the process, to prove that a crash at this point loses nothing.

With `PREFLAB_FAULT=NAME` or `NAME:N` in the environment, the process kills itself when it passes the point NAME for the
N-th time. The default of N is 1.
"""

from __future__ import annotations

import os
import signal

_passed: dict[str, int] = {}


def pass_point(name: str) -> None:
    """Kills the process with SIGKILL if `PREFLAB_FAULT` names this point."""
    target, _, count = os.environ.get("PREFLAB_FAULT", "").partition(":")
    if target == name:
        _passed[name] = _passed.get(name, 0) + 1
        if _passed[name] == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
