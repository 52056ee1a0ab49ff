"""The examples: an algorithm in one file each, which must go on working, learning and being short enough to read."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
BELOW_THE_METHODS = {"batch", "losses", "models", "ops", "sampling", "spec", "types"}


def load(name: str) -> ModuleType:
    """An example as a module: `main` is what its command line calls."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_dpo_learns() -> None:
    """Protects the example: the margin rises, the unseen pairs come into order, and the policy writes what was chosen."""
    before, after = load("dpo_from_scratch").main(sft_steps=250, steps=30)
    assert before.margin == 0.0  # the policy is its reference
    assert after.margin > 1.0 and after.accuracy > 0.9
    assert after.chosen > before.chosen + 0.1


def test_ppo_learns() -> None:
    """Protects the example: the reward on unseen prompts rises."""
    before, after = load("ppo_from_scratch").main(sft_steps=250, steps=5)
    assert after > before + 0.1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_read_from_top_to_bottom(script: Path) -> None:
    """Protects what the first lines promise: under 200 lines, numbered steps, nothing of the methods or the loop imported,
    and options that exist."""
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 200
    steps = [int(number) for number in re.findall(r"^ +# (\d+)\. ", text, flags=re.MULTILINE)]
    assert len(steps) >= 5 and steps == [*range(1, len(steps) + 1)]
    modules = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.module}
    packages = {module.split(".")[1] for module in modules if module.startswith("preflab.")}
    assert packages <= BELOW_THE_METHODS
    module = load(script.stem)
    options = {name.replace("_", "-") for name in inspect.signature(module.main).parameters} | {"help"}
    assert set(re.findall(r"--([a-z-]+)", module.__doc__ or "")) <= options
