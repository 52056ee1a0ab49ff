"""The check of what is released: a whole wheel and sdist pass, and each way of not being whole is named."""

from __future__ import annotations

import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import ModuleType

import pytest

import preflab

VERSION = preflab.__version__
INFO = f"preflab-{VERSION}.dist-info"
METADATA = f"Version: {VERSION}\nLicense-Expression: Apache-2.0\nClassifier: Typing :: Typed\n"


@pytest.fixture(scope="module")
def check_dist(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("check_dist")


def build(folder: Path, wheel: dict[str, str], sdist: dict[str, str]) -> Path:
    """Both files with these members."""
    with zipfile.ZipFile(folder / f"preflab-{VERSION}-py3-none-any.whl", "w") as archive:
        for name, text in wheel.items():
            archive.writestr(name, text)
    with tarfile.open(folder / f"preflab-{VERSION}.tar.gz", "w:gz") as archive:
        for name, text in sdist.items():
            member = tarfile.TarInfo(f"preflab-{VERSION}/{name}")
            member.size = len(text)
            archive.addfile(member, BytesIO(text.encode()))
    return folder


@pytest.fixture
def members(check_dist: ModuleType, repository: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The members of a wheel and of an sdist that lack nothing; the package's files are empty."""
    wheel = dict.fromkeys(check_dist.package_files(repository), "")
    wheel |= {f"{INFO}/METADATA": METADATA, f"{INFO}/RECORD": "", f"{INFO}/licenses/LICENSE": ""}
    wheel |= {f"{INFO}/entry_points.txt": "[console_scripts]\npreflab = preflab.cli:main\n"}
    return wheel, {**dict.fromkeys(check_dist.IN_EVERY_SDIST, ""), "PKG-INFO": METADATA}


def test_whole_files_pass(
    check_dist: ModuleType, members: tuple[dict[str, str], dict[str, str]], tmp_path: Path
) -> None:
    """Protects from a check that refuses everything."""
    assert check_dist.check_folder(build(tmp_path, *members)) == []


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("preflab/py.typed", None, "preflab/py.typed is missing"),
        ("preflab/losses/preference.py", None, "preflab/losses/preference.py is missing"),
        (f"{INFO}/licenses/LICENSE", None, "LICENSE is missing"),
        ("tests/conftest.py", "", "tests/conftest.py does not belong there"),
        (f"{INFO}/entry_points.txt", "", "no entry point"),
        (f"{INFO}/METADATA", METADATA.replace(VERSION, "9.9"), "the version 9.9"),
        ("preflab/py.typed", "x" * 1_500_001, "bytes, at most 1,500,000 are allowed"),
    ],
)
def test_faults_of_a_wheel(
    check_dist: ModuleType,
    members: tuple[dict[str, str], dict[str, str]],
    tmp_path: Path,
    name: str,
    text: str | None,
    fault: str,
) -> None:
    """Protects from a release that lacks its types, its code, its licence or its command, or brings the tests along."""
    wheel, sdist = members
    changed = {**wheel, name: text or ""}
    if text is None:
        del changed[name]
    (line,) = check_dist.check_folder(build(tmp_path, changed, sdist))
    assert line.startswith(f"preflab-{VERSION}-py3-none-any.whl: ") and fault in line


def test_an_sdist_includes_what_every_sdist_holds(check_dist: ModuleType, repository: Path) -> None:
    """Protects from an sdist without the benchmarks or `.ci/run`, which the documentation names."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    patterns = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    made_by_hatch = {"pyproject.toml", "PKG-INFO", "LICENSE"}
    names = [name for name in check_dist.IN_EVERY_SDIST if name not in made_by_hatch]
    assert {"benchmarks/judge.py", ".ci/run"} <= set(names)
    for name in names:
        tops = {f"/{name.partition('/')[0]}", f"/*{Path(name).suffix}"}
        assert (repository / name).is_file() and tops & set(patterns), name


def test_faults_of_an_sdist_and_of_the_folder(
    check_dist: ModuleType, members: tuple[dict[str, str], dict[str, str]], tmp_path: Path
) -> None:
    """Protects from an sdist that cannot be built from, from caches in it, and from a folder that holds an old release."""
    wheel, sdist = members
    sdist["src/preflab/__pycache__/spec.pyc"] = ""
    del sdist["constraints.txt"]
    assert [line.partition(": ")[2] for line in check_dist.check_folder(build(tmp_path, wheel, sdist))] == [
        "constraints.txt is missing",
        f"preflab-{VERSION}/src/preflab/__pycache__/spec.pyc does not belong there",
    ]
    (tmp_path / "preflab-0.0.1.tar.gz").touch()
    (line,) = check_dist.check_folder(tmp_path)
    assert "preflab-0.0.1.tar.gz" in line
