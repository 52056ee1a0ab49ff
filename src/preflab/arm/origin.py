"""Describes what a run is made from, for the run's manifest: the spec, the versions, the git revision, the user's own
code."""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from preflab.arm.spec import STAGE
from preflab.spec import Spec
from preflab.targets import find_source
from preflab.train.files import sha256

TARGET = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*")
"""A string of a spec that names a function or a class, such as `my_rewards:brevity`."""
PACKAGES = ("preflab", "torch", "transformers", "tokenizers", "safetensors", "numpy")


def manifest_of(spec: Spec) -> dict[str, Any]:
    """The manifest of a run with this spec."""
    data = spec.model_dump(mode="json")
    return {"spec": data, "versions": versions(), "revision": revision(), "code": code_of(data)}


def code_of(data: JsonValue) -> dict[str, str]:
    """Fingerprints of the user's own code that a spec names: the SHA-256 of the file that defines each `module:function`,
    and of each file that a `command` names."""
    files: dict[str, str] = {}
    if isinstance(data, list):
        for item in data:
            files |= code_of(item)
    elif isinstance(data, dict):
        for name, item in data.items():
            files |= files_of_command(item) if name == "command" and isinstance(item, str) else code_of(item)
    elif isinstance(data, str) and TARGET.fullmatch(data) and not data.startswith(STAGE):
        path = find_source(data)
        files |= {data: sha256(path)} if path is not None else {}
    return files


def files_of_command(command: str) -> dict[str, str]:
    """The SHA-256 of each word of a command that is the path of a file."""
    try:
        words = shlex.split(command)
    except ValueError:  # the reward refuses such a command itself
        return {}
    return {word: sha256(Path(word)) for word in words if Path(word).is_file()}


def versions() -> dict[str, str]:
    """The version of Python, and of each package that a result depends on."""
    by_package = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            by_package[name] = version(name)
        except PackageNotFoundError:
            by_package[name] = "not installed"
    return by_package


def revision() -> str | None:
    """The git commit of preflab's source, with `+changes` if tracked files differ from it; None outside a checkout."""
    source = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(("git", "-C", source, *words), capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    return f"{commit}+changes" if commit and git("status", "--porcelain", "--untracked-files=no") else commit
