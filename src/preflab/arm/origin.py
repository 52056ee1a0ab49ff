"""The versions and the git revision that made a run, for its manifest."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("preflab", "torch", "transformers", "tokenizers", "safetensors", "numpy")


def versions() -> dict[str, str]:
    """Python's version and that of every package that a result depends on."""
    by_package = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            by_package[name] = version(name)
        except PackageNotFoundError:
            by_package[name] = "not installed"
    return by_package


def revision() -> str | None:
    """The git commit of preflab's source, with `+changes` where the tree differs; None outside a checkout."""
    source = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(("git", "-C", source, *words), capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    return f"{commit}+changes" if commit and git("status", "--porcelain", "--untracked-files=no") else commit
