"""Builds the read-only root folder that programs see: Python's standard library, its shared libraries, and a shell.

This folder, the image, is built once for each interpreter and set of packages, and is kept in a cache. The image also
contains those packages, and the files of preflab that run inside the sandbox. The image contains nothing else of this
machine. Every file belongs to the user who built the image. The sandbox mounts the image read-only, so a program can
read the files but cannot change them.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import Distribution
from pathlib import Path

from preflab.errors import UserError
from preflab.sandbox.packages import SANDBOX_PACKAGES, copy_distribution, find_distributions
from preflab.sandbox.walls import INNER_PYTHON

_GUEST_FILES = ("guest.py", "checker.py", "compare.py", "line.py", "plain_json.py", "values.py", "wire.py")
_ignore_unneeded = shutil.ignore_patterns(
    *("site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "__pycache__"),
    *("config-*", "_tkinter*", "*.a"),
)
DEVICES = ("null", "full", "random", "urandom")
"""The devices that programs may use. `/dev/zero` is left out, because shared memory that is mapped from it belongs to
no process and could not be measured."""
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
_UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH  # bytecode in the image needs no check of its source


def find_image(packages: Sequence[str] = ()) -> Path:
    """Returns the image of this interpreter with these packages and `SANDBOX_PACKAGES`. Builds the image if it does not
    exist yet. If two processes build the image at the same time, one copy is kept. Raises `UserError` if a package
    is not installed."""
    distributions = find_distributions([*SANDBOX_PACKAGES, *packages])
    place = _image_cache() / f"image-{_image_key(distributions)}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix="building-", dir=place.parent))
        try:
            _build(building, distributions)
            building.chmod(0o755)
            building.rename(place)
        except OSError:
            if not place.exists():
                raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return place


def warm_image(image: Path) -> None:
    """Reads every file of the image, so that the kernel has all files in its cache. Otherwise a program could find out
    which files an earlier program has read."""
    for folder, _, names in os.walk(image):
        for path in (Path(folder, name) for name in names):
            if not path.is_symlink():
                with path.open("rb", buffering=0) as file:
                    while file.read(1 << 20):
                        pass


def _image_cache() -> Path:
    """Returns the cache folder. If preflab runs as root, programs run as other users, who must be able to read the
    folder. For root, the folder is therefore outside root's home. For any other user, the folder is in `XDG_CACHE_HOME`
    or in the user's home."""
    if os.geteuid() == 0:
        return Path("/var/cache/preflab/sandbox")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "preflab" / "sandbox"


def _image_key(distributions: Iterable[Distribution]) -> str:
    here = Path(__file__).parent
    shell = Path(os.path.realpath("/bin/sh")).stat()
    versions = [f"{each.metadata['Name']} {each.version}" for each in distributions]
    sources = [(here / name).read_text() for name in (*_GUEST_FILES, Path(__file__).name, "packages.py")]
    parts = [sys.version, sys.base_prefix, f"{shell.st_size} {shell.st_mtime_ns}", *versions, *sources]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _build(root: Path, distributions: Iterable[Distribution]) -> None:
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix, "base": sys.base_prefix}))
    inside = root / "python" / "lib" / library.name
    shutil.copytree(library, inside, ignore=_ignore_unneeded)
    programs = {INNER_PYTHON: Path(os.path.realpath(sys.executable)), "/bin/sh": Path(os.path.realpath("/bin/sh"))}
    for distribution in distributions:
        copy_distribution(distribution, inside)
    copy_with_libraries(root, programs, extensions=inside.rglob("*.so*"))
    # preflab is put into the standard library, because the place for other packages differs between builds of Python.
    ours = inside / "preflab"
    for name in _GUEST_FILES:
        _copy(Path(__file__).with_name(name), ours / "sandbox" / name, mode=0o644)
    for folder in (ours, ours / "sandbox"):
        (folder / "__init__.py").touch()
    compileall.compile_dir(root, quiet=2, invalidation_mode=_UNCHECKED, stripdir=str(root), prependdir="/")
    for folder in ("tmp", "proc", "dev"):
        (root / folder).mkdir()
    for device in DEVICES:
        (root / "dev" / device).touch()
    for name, target in {**_LINKS, "shm": "/tmp"}.items():
        (root / "dev" / name).symlink_to(target)


def copy_with_libraries(root: Path, programs: Mapping[str, Path], *, extensions: Iterable[Path] = ()) -> None:
    """Copies each program to its place in `root`, together with the shared libraries that the programs and the `extensions`
    load. Libraries that packages have already brought into `root` are not copied."""
    needed = _find_libraries([*programs.values(), *extensions])
    needed = {path for path in needed if root.resolve() not in path.resolve().parents}
    # Without libgcc, which the C library loads late, a program with daemon threads cannot end.
    late = {path for each in needed if (path := each.with_name("libgcc_s.so.1")).exists()}
    for place, file in {**{str(path): path for path in needed | late}, **programs}.items():
        _copy(file, root / place.lstrip("/"))


def _copy(source: Path, target: Path, *, mode: int = 0o755) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _find_libraries(binaries: Iterable[Path]) -> set[Path]:
    """Returns the paths of the shared libraries that the loader would load together with the binaries."""
    libraries: set[Path] = set()
    for binary in binaries:
        listing = subprocess.run(["ldd", str(binary)], capture_output=True, text=True).stdout
        libraries |= {Path(word) for word in listing.replace("=>", " ").split() if word.startswith("/")}
    if not libraries:
        raise UserError(
            "`ldd` finds no shared library of this Python, so the sandbox cannot be built. Install libc-bin."
        )
    return libraries
