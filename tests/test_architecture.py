"""What keeps the code readable and quick to start: sizes, walks, one version, and no torch where none is needed."""

from __future__ import annotations

import ast
import dataclasses
import importlib.metadata
import json
import re
import resource
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import preflab
from preflab.spec import Context
from preflab.train import ownership

HEAVY = ("torch", "transformers", "peft", "datasets")


def run_python(code: str) -> str:
    """What a fresh interpreter prints."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def contract(repository: Path, name: str) -> dict[str, Any]:
    """The import contract of this name in pyproject.toml."""
    contracts = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = [each for each in contracts if each["name"] == name]
    return found


def torch_free(repository: Path) -> list[str]:
    """The modules of the contract in pyproject.toml, those in its packages too, but for those that it excepts."""
    light = contract(repository, "What needs no torch imports none")
    excepted = [line.partition(" -> ")[0] for line in light["ignore_imports"]]
    names: list[str] = []
    for name in light["source_modules"]:
        path = repository / "src" / name.replace(".", "/")
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        modules = [file.relative_to(repository / "src").with_suffix("") for file in files]
        names += [".".join(module.parts).removesuffix(".__init__") for module in modules]
    return [name for name in names if name not in excepted]


@pytest.fixture(scope="module")
def source(repository: Path) -> Path:
    return repository / "src" / "preflab"


@pytest.fixture(scope="module")
def walk(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("walk")


def test_import_preflab_is_light() -> None:
    """`import preflab` pulls in none of the heavy libraries; neither does reading a record from it."""
    code = f"import preflab, sys, json; preflab.Prompt; print(json.dumps([n for n in {HEAVY} if n in sys.modules]))"
    assert json.loads(run_python(code)) == []


def test_what_needs_no_torch_imports_none(repository: Path) -> None:
    """Every module of the torch-free contract loads in one interpreter that holds no torch afterwards.

    import-linter checks the same on paper; this sees what is imported by other libraries as well.
    """
    names = torch_free(repository)
    assert "preflab.types" in names
    code = f"""
import importlib, json, sys
guilty = {{}}
for name in {names}:
    importlib.import_module(name)
    loaded = [heavy for heavy in ("torch", "transformers", "peft") if heavy in sys.modules]
    if loaded:
        guilty[name] = loaded
        break
print(json.dumps(guilty))
"""
    assert json.loads(run_python(code)) == {}


def test_the_table_of_layers_is_the_contract(repository: Path) -> None:
    """Protects whoever looks for a module's place: CONTRIBUTING.md has the layers of pyproject.toml, in the same order, and
    marks the packages that import no torch."""
    rows = re.findall(r"^\| (`.*?) \|", (repository / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
    layers = contract(repository, "Imports point down only")["layers"]
    assert [re.findall(r"`(\w+)`", row) for row in rows] == [layer.split(" | ") for layer in layers]
    marked = {name for row in rows for name in re.findall(r"`(\w+)` \(\*", row)}
    light = contract(repository, "What needs no torch imports none")["source_modules"]
    packages = {name.removeprefix("preflab.") for name in light if name.count(".") == 1}
    assert marked == {name for name in packages if (repository / "src" / "preflab" / name).is_dir()}


MAY_CALL = ("evaluation/", "testbeds/", "arm/fitting.py")
"""Where a testbed's hidden tests and true values may be called for: in the evaluation, in the testbeds themselves, and in
the testbed that hands the calls on."""


@pytest.mark.parametrize("method", ["hidden_tests", "true_values"])
def test_only_the_evaluation_calls_what_is_held_back(source: Path, method: str) -> None:
    """Protects the hidden tests and the true rewards: no method, reward or other module calls for them."""
    callers = [
        str(path.relative_to(source))
        for path in sorted(source.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method
    ]
    assert callers
    assert [caller for caller in callers if not caller.startswith(MAY_CALL)] == []


def test_help_costs_little(source: Path, record_property: pytest.RecordProperty) -> None:
    """`preflab --help` is promised within .4 s of CPU time; .8 s is the guard on a busy machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = "import sys; sys.argv = ['preflab', '--help']; from preflab.cli import main; sys.exit(main())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"preflab --help: {seconds:.2f} s of CPU time")
    record_property("help_cpu_seconds", seconds)
    assert result.returncode == 0, result.stderr
    assert seconds < 0.8


def test_public_names_load() -> None:
    """`__all__` is spelled out for type checkers: each name loads, and the lazy table holds no other."""
    assert all(hasattr(preflab, name) for name in preflab.__all__)
    assert sorted({*preflab._HOME_OF, "__version__"}) == sorted(preflab.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = preflab.nothing


def test_one_version(repository: Path) -> None:
    """Package, changelog and `__version__` agree; pyproject.toml holds no second version."""
    assert importlib.metadata.version("preflab") == preflab.__version__
    newest = re.search(r"^## ([0-9.]+)", (repository / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == preflab.__version__
    assert "version" not in tomllib.loads((repository / "pyproject.toml").read_text())["project"]


def test_constraints_hold_what_is_required(repository: Path) -> None:
    """Every dependency, those of the dev extra too, is pinned in the tested set, which names no build of torch."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pinned = re.findall(r"^([\w.-]+)==(\S+)$", (repository / "constraints.txt").read_text(), re.MULTILINE)
    names = {name.lower().replace("_", "-") for name, _ in pinned}
    assert {re.split(r"[\[<>=]", line)[0].lower().replace("_", "-") for line in wanted} <= names
    assert "+" not in dict(pinned)["torch"]


@pytest.fixture(scope="module")
def groups(source: Path) -> set[str]:
    """The groups of entry points: the second argument of every `Registry(...)` in the source."""
    return {
        ast.literal_eval(node.args[1])
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Registry"
    }


@pytest.mark.parametrize("file", ["pyproject.toml", "CONTRIBUTING.md", "docs/extend.md", "examples/plugin/README.md"])
def test_every_group_of_entry_points_is_named(repository: Path, groups: set[str], file: str) -> None:
    """Protects whoever writes a plugin: each list of the groups has the group of every registry in the source."""
    assert {"preflab.rewards", "preflab.costs"} <= groups
    text = (repository / file).read_text()
    assert sorted(group for group in groups if not re.search(rf"{re.escape(group)}(?![\w.])", text)) == []


def test_a_commit_is_checked_as_make_check_does(repository: Path) -> None:
    """Protects the branch between two runs of `.ci/run`: each check of `make check` is a hook too, but for pyright, which
    takes a minute; and the line of help lists them all."""
    makefile = (repository / "Makefile").read_text()
    (recipe,) = re.findall(r"^check: install\n((?:\t.*\n)+)", makefile, flags=re.MULTILINE)
    commands = re.findall(r"\$\(BIN\)/(ruff \w+|lint-imports|python \S+|\w+)", recipe)
    assert len(commands) == recipe.count("\n")
    hooks = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    entries = " ".join(hook["entry"] for hook in hooks)
    assert [command for command in commands if f".venv/bin/{command}" not in entries] == ["pyright"]
    (help_line,) = re.findall(r'echo "make check +(.*)"', makefile)
    assert len(help_line.split(", ")) == len(commands)


def test_every_file_of_a_run_is_named_once(source: Path) -> None:
    """Protects a run: the module that writes a file and the modules that read, keep or delete it cannot name two files."""
    names = {
        ownership.FINAL,
        ownership.METRICS,
        ownership.SAMPLES,
        ownership.TIMING,
        ownership.ANSWERS,
        ownership.RESULT,
        ownership.PRODUCT,
    }
    places = [
        (node.value, path.relative_to(source).as_posix())
        for path in sorted(source.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names
    ]
    assert sorted(places) == sorted((name, "train/ownership.py") for name in names)


def test_what_opened_objects_get_is_read(source: Path) -> None:
    """Protects authors of plugins: `Context` promises no value that preflab itself does not need, and may forget to set."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(source.rglob("*.py")))
    assert [field.name for field in dataclasses.fields(Context) if f"context.{field.name}" not in text] == []


def test_variables_are_nouns(source: Path) -> None:
    """Protects the reader: these participles said that something had been asked, found or told, but not what it was."""
    participles = {"asked", "found", "told"}
    named = {
        f"{path.relative_to(source)}:{node.lineno}"
        for path in sorted(source.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Name) and node.id in participles)
        or (isinstance(node, ast.arg) and node.arg in participles)
    }
    assert named == set()


def test_files_and_functions_stay_small(source: Path) -> None:
    """No file over 400 lines, no function over 60: what does not fit on a screen is not read."""
    long: list[str] = []
    for path in sorted(source.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if (lines := len(text.splitlines())) > 400:
            long.append(f"{path.relative_to(source)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (size := (node.end_lineno or 0) - node.lineno + 1) > 60:
                long.append(f"{path.relative_to(source)}:{node.lineno} {node.name}: {size} lines")
    assert long == []


WALKED = {
    "a.py": '''"""Doc.

More."""

TABLE = {"b": loss}
def train():
    _helper()
def _helper():
    # why
    TABLE["b"](1)
''',
    "b.py": '''class Learner:
    def __init__(self):
        """Doc."""

        self.x = (
            1)
    def step(self): ...
def loss(x):
    return Learner().step()
''',
}


def walked(walk: ModuleType, visits: str, source: Path, **limits: int) -> list[str]:
    """What is wrong with a walk through the two files of `WALKED`."""
    for name, text in WALKED.items():
        (source / name).write_text(text)
    most = {"stops": 9, "files": 9, "lines": 99, "hops": 9, "climbs": 9} | limits
    return walk.check(walk.Walk("w", "train", walk.Counts(0, 0, 0, 0, 0), walk.Counts(**most), visits), source)


def test_walk_counts(walk: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four stops on two files, three visits, the last of which climbs back to a.py.

    Lines: neither blank nor docstring, comments count. a.py: TABLE, def, call, def, # why, call = 6; b.py: class, def, self.x,
    1), def step, def loss, return = 7. A function in a module's table is called where the table is read; a class is called
    for its `__init__`.
    """
    visits = "a.py: train\nb.py: loss, Learner.__init__\na.py: _helper"
    assert walked(walk, visits, tmp_path) == []
    assert (
        "stops 4 (at most 9), files 2 (at most 9), lines 13 (at most 99), hops 2 (at most 9), climbs 1 (at most 9)"
        in (capsys.readouterr().out)
    )
    few = walked(walk, visits, tmp_path, stops=3, files=1, lines=12, hops=1, climbs=0)
    assert few == [
        "4 stops, at most 3",
        "2 files, at most 1",
        "13 lines, at most 12",
        "2 hops, at most 1",
        "1 climbs, at most 0",
    ]


def test_the_table_of_walks_is_that_of_the_script(walk: ModuleType, repository: Path) -> None:
    """Protects docs/walks.md from numbers of an older state. Lines change with most edits, so they may be 2% off."""

    def counts(text: str) -> dict[str, tuple[int, int]]:
        rows = re.findall(r"^\| (\w+ \| \w+) \| ([\d,]+) \| ([\d,]+) \|$", text, flags=re.MULTILINE)
        return {name: (int(before.replace(",", "")), int(now.replace(",", ""))) for name, before, now in rows}

    stated = counts((repository / "docs" / "walks.md").read_text(encoding="utf-8"))
    counted = counts(walk.table(walk.WALKS, walk.SOURCE))
    assert len(counted) == 25
    assert stated == {
        name: (before, pytest.approx(now, rel=0.02 if name.endswith("lines") else 0))
        for name, (before, now) in counted.items()
    }


def test_walk_names_what_is_missing(walk: ModuleType, tmp_path: Path) -> None:
    """A file, a definition, or a call by an *earlier* stop that is not there is an error, not a shorter walk."""
    assert walked(walk, "a.py: train\nc.py: f", tmp_path) == ["there is no file c.py"]
    assert walked(walk, "a.py: train\nb.py: B.leap", tmp_path) == ["there is no B.leap in b.py"]
    late = walked(walk, "a.py: train\nb.py: Learner.step, loss", tmp_path)
    assert late == ["no earlier stop calls step (b.py: Learner.step)"]
    assert walked(walk, "a.py: train\nb.py: loss, Learner.step as leap", tmp_path) != []
