"""The documentation as far as it can be checked without building it: each page has its place, each name its object, each
example of a study file its meaning. `make docs` checks the links."""

from __future__ import annotations

import gzip
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import preflab
from preflab.report import verdicts
from preflab.spec import parse_spec

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose tags name Python objects, as plain data."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def navigation(entries: list[Any]) -> list[str]:
    """The pages of a navigation, in order."""
    pages: list[str] = []
    for entry in entries:
        for target in entry.values() if isinstance(entry, dict) else (entry,):
            pages += navigation(target) if isinstance(target, list) else [target]
    return pages


def resolve(name: str) -> Any:
    """The object behind a dotted name."""
    for parts in range(name.count(".") + 1, 0, -1):
        module, *attributes = ".".join(name.split(".")[:parts]), *name.split(".")[parts:]
        try:
            target = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        for attribute in attributes:
            target = getattr(target, attribute)
        return target
    raise AssertionError(f"nothing is called {name}")


def test_every_page_has_its_place() -> None:
    """Protects the reading order: the navigation names every page once and nothing else."""
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)  # a SafeLoader
    named = navigation(config["nav"])
    assert sorted(named) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES)


def test_the_reference_names_what_is_there() -> None:
    """Protects the reference from renames: every object on its pages exists, and every public name has its entry."""
    names = [
        name
        for page in sorted((DOCS / "api").glob("*.md"))
        for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    ]
    for name in names:
        resolve(name)
    public = {name for name in preflab.__all__ if name != "__version__"}
    assert {name.removeprefix("preflab.") for name in names if name.count(".") == 1} >= public


def test_members_named_in_the_reference_exist() -> None:
    """Protects the lists of members, of which the builder skips in silence what is not there."""
    for page in (DOCS / "api").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for name, members in re.findall(
            r"^::: (\S+)\n    options:\n      members: \[(.*)\]$", text, flags=re.MULTILINE
        ):
            module = resolve(name)
            assert [member for member in members.split(", ") if not hasattr(module, member)] == [], page


STUDIES = [
    (page.name, block)
    for page in [*PAGES, ROOT / "README.md"]
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    if block.startswith("schema_version:")
]


@pytest.mark.parametrize(("page", "text"), STUDIES, ids=[page for page, _ in STUDIES])
def test_study_files_in_the_documentation(page: str, text: str) -> None:
    """Protects whoever copies a study file from a page: it is read as it stands."""
    from preflab.study.spec import Study

    assert parse_spec(Study, yaml.safe_load(text), where=page).arms


UNSETTLED = sorted((DOCS / "results").glob("runs/*"))
LARGEST_ARCHIVE = 3_000_000


@pytest.mark.parametrize("file", UNSETTLED, ids=[file.name for file in UNSETTLED])
def test_runs_of_unsettled_studies_are_small_and_can_be_imported(file: Path) -> None:
    """Protects the repository's size, and whoever continues a study with `--import`: each file in `runs` is an archive of
    finished runs that today's code reads."""
    from preflab.study.archive import Archive

    assert file.name.endswith(".runs.tar.xz")
    assert file.stat().st_size <= LARGEST_ARCHIVE
    Archive(file)


RECORDS = sorted((DOCS / "results").glob("*.json.gz"))


@pytest.mark.parametrize("record", RECORDS, ids=[record.name for record in RECORDS])
def test_results_are_small_and_agree(record: Path, script: Callable[[str], ModuleType]) -> None:
    """Protects the committed results: today's code reads the record, page and Markdown tell its verdict, all three files are
    small, and nothing in them depends on when they were packed."""
    publish_results = script("publish_results")
    results = publish_results.read_record(record)
    folder, study = record.parent, results.study
    files = {name: (folder / f"{study}.{name}").read_bytes() for name in ("md", "html.gz", "json.gz")}
    assert sum(map(len, files.values())) <= publish_results.LARGEST
    (words, verdict), *_ = verdicts.list_verdicts(results)
    assert files["md"].decode().startswith(f"# {verdicts.state_answer(words, verdict)}")
    assert results.verdict.sentence in gzip.decompress(files["html.gz"]).decode()
    assert files["html.gz"][4:8] == files["json.gz"][4:8] == bytes(4)  # no time
