"""The README's promises that code can check: its Python runs, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import preflab
from preflab.cli import COMMANDS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SMALL: dict[str, Any] = {
    "model": {"name": "tiny", "tiny": {"width": 16, "inner": 16, "layers": 1, "heads": 2}},
    "testbed": {"kind": "minicode", "train": 24, "validation": 4, "test": 6},
    "evaluation": {"samples": 5, "max_new_tokens": 8, "look_prompts": 2, "look_samples": 1, "temperatures": [1.0]},
}


def test_the_python_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the interface as documented: the snippet runs as written, on a smaller model and testbed, and compares."""
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preflab, "fit", partial(preflab.fit, **SMALL))
    exec(compile(code.replace('"steps": 20, "rollouts": 256', '"steps": 1, "rollouts": 8'), "README.md", "exec"), {})
    assert "Comparison(" in capsys.readouterr().out
    assert (tmp_path / "runs" / "api" / "2" / "ppo" / "final" / "model.safetensors").exists()


def test_links_and_commands() -> None:
    """Protects from dead links and from commands that are not there."""
    root = Path(__file__).parent.parent
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (root / link).exists()] == []
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL))
    named = set(re.findall(r"^preflab (\w+)", shell, flags=re.MULTILINE))
    assert named
    assert named <= {command.split()[0] for command in COMMANDS}


def test_no_public_name_is_hidden_by_a_module() -> None:
    """Protects `preflab.fit(...)`: importing a subpackage sets an attribute of its name, whatever stood there before."""
    modules = {path.stem for path in Path(preflab.__file__).parent.iterdir()}
    assert not modules & set(preflab.__all__)
