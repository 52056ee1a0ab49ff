"""Where vLLM is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def vllm_python(repository: Path, require: Callable[[str, bool, str], None]) -> str:
    """PREFLAB_VLLM_PYTHON, or the environment that `make vllm` builds."""
    named = os.environ.get("PREFLAB_VLLM_PYTHON") or str(repository / ".vllm" / "bin" / "python")
    require("vllm", Path(named).exists(), "needs vLLM in an environment of its own: make vllm")
    return named
