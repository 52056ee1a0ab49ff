"""What a result must say of the machine and of the libraries."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

TELLING_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_tile")
LIBRARIES = ("torch", "transformers", "numpy")
ROOT = Path(__file__).resolve().parent.parent


def has_bf16() -> bool:
    """Whether the processor multiplies matrices in bf16."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def describe_machine() -> dict[str, Any]:
    facts = Path("/proc/cpuinfo").read_text()
    name, flags = (re.search(rf"^{key}\s*: (.*)$", facts, flags=re.MULTILINE) for key in ("model name", "flags"))
    known = flags[1].split() if flags else []
    return {
        "processor": name[1] if name else platform.processor(),
        "flags": [flag for flag in TELLING_FLAGS if flag in known],
        "bf16": has_bf16(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {library: version(library) for library in LIBRARIES},
        "commit": commit(),
    }


def commit() -> str:
    """The commit that was measured, with a plus where files differ from it; empty outside a repository."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
