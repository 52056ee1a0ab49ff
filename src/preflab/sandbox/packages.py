"""Copies installed packages into the sandbox's image. Programs may import these packages and the standard library.

A package is copied together with the packages that it requires. All files that a package lists are copied, except its
tests and its commands.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from preflab.errors import UserError

SANDBOX_PACKAGES = ("numpy", "sortedcontainers")
"""The packages in every image. Reference solutions and tests of APPS, HumanEval+, LiveCodeBench and LeetCode use them."""
_LEFT_OUT_FOLDERS = frozenset(["test", "tests", "__pycache__", "bin", ".."])
_METADATA = "METADATA"
"""The only file that is copied from a package's `.dist-info` folder. Packages read their own version from this file."""


def find_distributions(names: Iterable[str]) -> list[Distribution]:
    """Returns the named packages and all packages that these require, sorted by name. Raises `UserError` if a package
    is not installed."""
    known: dict[str, Distribution] = {}
    pending = list(names)
    while pending:
        name = canonicalize_name(pending.pop())
        if name in known:
            continue
        try:
            known[name] = importlib.metadata.distribution(name)
        except (PackageNotFoundError, ValueError) as error:
            raise UserError(
                f"The package {name!r} for the sandbox is not installed in preflab's environment: pip install {name}."
            ) from error
        required = map(Requirement, known[name].requires or ())
        pending += [each.name for each in required if each.marker is None or each.marker.evaluate({"extra": ""})]
    return [known[name] for name in sorted(known)]


def copy_distribution(distribution: Distribution, target: Path) -> None:
    """Copies a package's files to the folder `target`, from which programs import them. Raises `UserError` if the package
    does not list its files."""
    if not distribution.files:
        name = distribution.metadata["Name"]
        raise UserError(
            f"The package {name!r} does not list its files: reinstall it (pip install --force-reinstall {name})."
        )
    for file in distribution.files:
        described = file.parts[0].endswith(".dist-info") and file.name != _METADATA
        source = Path(str(distribution.locate_file(file)))
        if described or _LEFT_OUT_FOLDERS & {*file.parts} or not source.is_file():
            continue
        place = target / file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
        place.chmod(0o755 if ".so" in file.suffixes else 0o644)
