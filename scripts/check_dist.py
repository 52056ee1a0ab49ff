"""Checks what `make dist` built before anybody installs it: one wheel and one sdist, whole, and nothing else in them.

    python scripts/check_dist.py [dist]

Prints each file with its size and number of members, then what is wrong, one line each; the exit status says whether
anything is. A file of the package that is missing from the wheel is found by comparing with `src/`, not with a list.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LARGEST_WHEEL = 1_500_000  # bytes: half as much again as it is
LARGEST_SDIST = 3_500_000
ENTRY_POINT = "preflab = preflab.cli:main"
CLASSIFIER = "Typing :: Typed"
IN_EVERY_SDIST = (
    *("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "Makefile", "constraints.txt"),
    *("scripts/install.sh", "src/preflab/_version.py", "tests/conftest.py", "docs/index.md", "PKG-INFO"),
    *("benchmarks/judge.py", ".ci/run"),
)
NEVER_SHIPPED = re.compile(r"(^|/)(__pycache__|\.git|\.venv|\.pytest_cache|runs|site|build)(/|$)|\.pyc$")


def package_files(root: Path) -> set[str]:
    """Every file that the installed package needs, as it is called in a wheel."""
    paths = (path for path in (root / "src" / "preflab").rglob("*") if path.is_file())
    names = {path.relative_to(root / "src").as_posix() for path in paths}
    return {name for name in names if not NEVER_SHIPPED.search(name)}


def version_of(root: Path) -> str:
    text = (root / "src" / "preflab" / "_version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "(.+)"$', text, flags=re.MULTILINE)
    if match is None:
        raise SystemExit("src/preflab/_version.py states no version.")
    return match[1]


def check_wheel(path: Path, root: Path, version: str) -> list[str]:
    """What is wrong with a wheel."""
    with zipfile.ZipFile(path) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        info = f"preflab-{version}.dist-info"
        texts = {
            name: archive.read(f"{info}/{name}").decode() if f"{info}/{name}" in names else ""
            for name in ("METADATA", "entry_points.txt")
        }
    expected = package_files(root)
    needed = {"preflab/py.typed", f"{info}/METADATA", f"{info}/RECORD", f"{info}/licenses/LICENSE"}
    metadata = HeaderParser().parsestr(texts["METADATA"])
    faults = [f"{name} is missing" for name in sorted((expected | needed) - names)]
    strangers = sorted(name for name in names - expected if not name.startswith(f"{info}/"))
    faults += [f"{name} does not belong there" for name in strangers]
    if not any(Path(name).match("presets/*.yaml") for name in names):
        faults.append("it holds no preset study")
    if ENTRY_POINT not in texts["entry_points.txt"].splitlines():
        faults.append(f"it has no entry point `{ENTRY_POINT}`")
    if CLASSIFIER not in metadata.get_all("Classifier", []):
        faults.append(f"its metadata lack the classifier `{CLASSIFIER}`")
    if metadata["License-Expression"] != "Apache-2.0":
        faults.append(f"its metadata state the licence {metadata['License-Expression']}")
    return faults + _common_faults(path, metadata["Version"], version, LARGEST_WHEEL)


def check_sdist(path: Path, version: str) -> list[str]:
    """What is wrong with an sdist."""
    top = f"preflab-{version}/"
    with tarfile.open(path) as archive:
        names = {member.name for member in archive.getmembers() if not member.isdir()}
        info = archive.extractfile(f"{top}PKG-INFO") if f"{top}PKG-INFO" in names else None
        metadata = HeaderParser().parsestr(info.read().decode() if info else "")
    faults = [f"{name} is missing" for name in IN_EVERY_SDIST if top + name not in names]
    strangers = sorted(name for name in names if not name.startswith(top) or NEVER_SHIPPED.search(name))
    faults += [f"{name} does not belong there" for name in strangers]
    return faults + _common_faults(path, metadata["Version"], version, LARGEST_SDIST)


def _common_faults(path: Path, stated: str | None, version: str, largest: int) -> list[str]:
    faults: list[str] = []
    if stated != version:
        faults.append(f"its metadata state the version {stated}, and src/preflab/_version.py {version}")
    if path.stat().st_size > largest:
        faults.append(f"it has {path.stat().st_size:,} bytes, at most {largest:,} are allowed")
    return faults


def check_folder(folder: Path, root: Path = ROOT) -> list[str]:
    """What is wrong with the two files in a folder, each line with the file's name first."""
    version = version_of(root)
    wheel, sdist = folder / f"preflab-{version}-py3-none-any.whl", folder / f"preflab-{version}.tar.gz"
    built = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if built != sorted([wheel.name, sdist.name]):
        return [f"{folder}: expected {wheel.name} and {sdist.name}, found {_listing(built)}"]
    return [f"{wheel.name}: {fault}" for fault in check_wheel(wheel, root, version)] + [
        f"{sdist.name}: {fault}" for fault in check_sdist(sdist, version)
    ]


def _listing(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    faults = check_folder(folder)
    for path in sorted(folder.glob("*")):
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    print("\n".join(faults) if faults else "Both files are whole.", file=sys.stderr if faults else sys.stdout)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
