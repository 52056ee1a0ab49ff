"""What programs may import beside the standard library: packages of this environment, copied into the image.

A package brings what it requires. Its files are copied as its own list names them, without its tests and its commands.
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
"""What every image holds: reference solutions and tests of APPS, HumanEval+, LiveCodeBench and LeetCode use them."""
_LEFT_OUT_FOLDERS = frozenset(["test", "tests", "__pycache__", "bin", ".."])
_METADATA = "METADATA"
"""The one file of a package's description that is kept: by it packages find their own version."""


def find_distributions(names: Iterable[str]) -> list[Distribution]:
    """The packages of these names and all that they require, by name. Raises `UserError` where one is not installed."""
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
                f"The sandbox is to have the package {name!r}, which is not installed beside preflab: pip install {name}."
            ) from error
        required = map(Requirement, known[name].requires or ())
        pending += [each.name for each in required if each.marker is None or each.marker.evaluate({"extra": ""})]
    return [known[name] for name in sorted(known)]


def copy_distribution(distribution: Distribution, target: Path) -> None:
    """Copies a package's files to where they are imported from. Raises `UserError` where it does not list them."""
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
