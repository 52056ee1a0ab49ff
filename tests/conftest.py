"""What every test may use: the real data, a browser, and `require`, which decides whether an absence is a skip.

`PREFLAB_REQUIRE=browser,sandbox,shared` names what this machine must have: a test that misses one of these fails there,
and elsewhere skips with the hint how to get it.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

# Before torch is first imported: one thread a process, so that results and timing do not depend on the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# A failing example must come back on the next run, and no test fails because the machine is slow.
settings.register_profile("preflab", deadline=None, derandomize=True)
settings.load_profile("preflab")


def require_feature(feature: str, available: bool, hint: str) -> None:
    """Skips with the hint if the feature is absent; fails if PREFLAB_REQUIRE says that it must be there."""
    if available:
        return
    required = {name.strip() for name in os.environ.get("PREFLAB_REQUIRE", "").split(",")}
    if feature in required:
        pytest.fail(f"PREFLAB_REQUIRE names {feature!r}, which is absent: {hint}", pytrace=False)
    pytest.skip(hint)


@pytest.fixture(scope="session")
def require() -> Callable[[str, bool, str], None]:
    """`require(feature, available, hint)`: see `require_feature`."""
    return require_feature


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def script(repository: Path) -> Callable[[str], ModuleType]:
    """`script(name)`: a module of `scripts/`, whose modules import each other by name as scripts do."""

    def load(name: str) -> ModuleType:
        sys.path.insert(0, str(repository / "scripts"))
        try:
            return importlib.import_module(name)
        finally:
            sys.path.pop(0)

    return load


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, `../shared/data` beside the repository."""
    folder = ROOT.parent / "shared" / "data"
    require_feature("shared", folder.is_dir(), "needs the real data in ../shared/data beside the repository")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a headless-capable browser."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    require_feature("browser", browser is not None, "needs a browser: apt-get install chromium")
    assert browser is not None
    return browser
