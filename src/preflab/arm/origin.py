"""Makes the manifest of a run, which records the spec, the package versions, the git revision and the checksums of the
user's own code."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from preflab.arm.spec import STAGE
from preflab.evaluation.served import SERVED
from preflab.spec import Spec
from preflab.targets import find_source
from preflab.train.files import sha256

TARGET = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*")
"""Matches a string in a spec that names a function or a class, such as `my_rewards:brevity`."""
PACKAGES = ("preflab", "torch", "transformers", "tokenizers", "safetensors", "numpy")


def manifest_of(spec: Spec) -> dict[str, Any]:
    """Returns the manifest of a run with this spec."""
    data = spec.model_dump(mode="json")
    return {"spec": data, "versions": versions(), "revision": revision(), "code": code_of(data)}


def code_of(data: JsonValue) -> dict[str, str]:
    """Returns the SHA-256 checksum of each file with the user's own code. These are the files that define a
    `module:function` in the spec, and the files that a `command` in the spec names. `data`: the spec, or a part of it,
    as plain data."""
    files: dict[str, str] = {}
    if isinstance(data, list):
        for item in data:
            files |= code_of(item)
    elif isinstance(data, dict):
        for name, item in data.items():
            files |= files_of_command(item) if name == "command" and isinstance(item, str) else code_of(item)
    elif isinstance(data, str) and TARGET.fullmatch(data) and not data.startswith((STAGE, SERVED)):
        path = find_source(data)
        files |= {data: sha256(path)} if path is not None else {}
    return files


def files_of_command(command: str) -> dict[str, str]:
    """Returns the SHA-256 of each file whose path is a word of the command."""
    try:
        words = shlex.split(command)
    except ValueError:  # not reported here: opening the reward raises an error if its command cannot be split
        return {}
    return {word: sha256(Path(word)) for word in words if os.path.isfile(word)}


def versions() -> dict[str, str]:
    """Returns the version of Python and the versions of the packages that can change a result."""
    by_package = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            by_package[name] = version(name)
        except PackageNotFoundError:
            by_package[name] = "not installed"
    return by_package


def revision() -> str | None:
    """Returns the git commit of preflab's source code, followed by `+changes` if tracked files differ from this commit.
    Returns None if the source code is not in a git checkout."""
    source = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(("git", "-C", source, *words), capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    return f"{commit}+changes" if commit and git("status", "--porcelain", "--untracked-files=no") else commit
