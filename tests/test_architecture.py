"""What keeps the code readable and quick to start: sizes, walks, one version, and no torch where none is needed."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import re
import resource
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import preflab

HEAVY = ("torch", "transformers", "peft", "datasets")
TORCH_FREE_PACKAGES = ("testbeds", "rewards", "report")
TORCH_FREE_MODULES = (
    *("types", "errors", "meter", "targets", "spec", "cli", "evaluation.settings"),
    *(
        f"study.{name}"
        for name in ("arm", "outcome", "plan", "process", "ran", "runner", "statistics", "study", "verdict")
    ),
)
TORCH_MODULES = ("preflab.rewards.learned",)  # a reward model is a torch model


def run_python(code: str) -> str:
    """What a fresh interpreter prints."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def torch_free(source: Path) -> list[str]:
    """The modules that the torch-free contract covers and that exist."""
    names = [f"preflab.{name}" for name in TORCH_FREE_MODULES if (source / f"{name.replace('.', '/')}.py").is_file()]
    for package in TORCH_FREE_PACKAGES:
        for path in sorted((source / package).rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            names.append(".".join(("preflab", *parts)).removesuffix(".__init__"))
    return [name for name in names if not name.startswith(TORCH_MODULES)]


@pytest.fixture(scope="module")
def source(repository: Path) -> Path:
    return repository / "src" / "preflab"


@pytest.fixture(scope="module")
def walk(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("walk", repository / "scripts" / "walk.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["walk"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_import_preflab_is_light() -> None:
    """`import preflab` pulls in none of the heavy libraries; neither does reading a record from it."""
    code = f"import preflab, sys, json; preflab.Prompt; print(json.dumps([n for n in {HEAVY} if n in sys.modules]))"
    assert json.loads(run_python(code)) == []


def test_what_needs_no_torch_imports_none(source: Path) -> None:
    """Every module of the torch-free contract loads in one interpreter that holds no torch afterwards.

    import-linter checks the same on paper; this sees what is imported by other libraries as well.
    """
    names = torch_free(source)
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


def test_help_costs_little(source: Path, record_property: pytest.RecordProperty) -> None:
    """`preflab --help` is promised within .4 s of CPU time; .8 s is the guard on a busy machine."""
    if not (source / "cli.py").is_file():
        pytest.skip("there is no preflab.cli")
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


def test_walk_counts(walk: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files, 5 + 3 lines: neither blank lines nor docstrings count, comments do.

    a.py: def train, _helper(), def _helper, # why, loss(1) = 5; b.py: def loss, return, 1 + x = 3. One hop: a -> b.
    """
    (tmp_path / "a.py").write_text(
        '"""Doc.\n\nMore."""\n\ndef train():\n    _helper()\ndef _helper():\n    # why\n    loss(1)\n'
    )
    (tmp_path / "b.py").write_text('def loss(x):\n    """Doc."""\n\n    return (\n        1 + x)\n')
    steps = (walk.Step("a.py", "train"), walk.Step("b.py", "loss"))
    assert walk.check(walk.Walk("w", "train", steps, 2, 8, 1), tmp_path) == []
    printed = capsys.readouterr().out
    assert "files: 2 " in printed
    assert "lines: 8 " in printed
    assert "hops: 1 " in printed
    limits = walk.check(walk.Walk("w", "train", steps, 1, 7, 0), tmp_path)
    assert limits == ["2 files, at most 1", "8 lines, at most 7", "1 hops, at most 0"]


def test_walk_names_what_is_missing(walk: ModuleType, tmp_path: Path) -> None:
    """A file, a function or a call that is not there is an error, not a shorter walk."""
    (tmp_path / "a.py").write_text("def train():\n    pass\n")
    (tmp_path / "b.py").write_text("class B:\n    def step(self):\n        pass\n")

    def wrong(file: str, function: str) -> list[str]:
        steps = (walk.Step("a.py", "train"), walk.Step(file, function))
        return walk.check(walk.Walk("w", "train", steps, 9, 99, 9), tmp_path)

    assert wrong("c.py", "f") == ["there is no c.py"]
    assert wrong("b.py", "B.leap") == ["no B.leap in b.py"]
    assert wrong("b.py", "B.step") == ["nothing on the walk calls step (b.py)"]
