"""The map from the paper's cells to studies: complete, true, and written into the documentation."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from preflab.contest.contestant import parse_contestants
from preflab.errors import UserError
from preflab.plain import read_data


@pytest.fixture(scope="module")
def reproduce(repository: Path) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("reproduce", repository / "scripts" / "reproduce.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reproduce"] = module  # named tuples look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["reproduce"]


@pytest.fixture
def tables(reproduce: ModuleType) -> Any:
    return read_data(reproduce.MAP)


def test_the_page_is_the_scripts(reproduce: ModuleType, tables: Any, repository: Path) -> None:
    """Protects whoever reruns the paper: the page names arms and measures that the presets have today, and every table."""
    assert (repository / "docs" / "reproduce.md").read_text() == reproduce.write_page(tables)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arm": "nobody"}, "saferlhf has no arm 'nobody'"),
        ({"measure": "grace"}, "does not measure 'grace'"),
        ({"measure": "reward", "split": "validation"}, "does not measure 'validation/reward'"),
        ({"measure": "reward", "split": "nowhere"}, "there is no split 'nowhere'"),
        ({"measure": "reward", "level": "bogus"}, "no level 'bogus'"),
        ({"measure": "win / tie / lose", "against": "ghost"}, "no arm 'ghost' to compare with"),
    ],
)
def test_an_unmapped_cell_is_refused(change: dict[str, Any], words: str, reproduce: ModuleType, tables: Any) -> None:
    """Protects from a page that promises what no study measures."""
    part = next(table for table in tables if table["table"] == "Table 2")["parts"][0]
    part |= change if "arm" in change else {"columns": dict.fromkeys(("x", "y", "z"), change)}
    with pytest.raises(UserError, match=words):
        reproduce.write_page(tables)


def test_the_commands_can_be_typed(reproduce: ModuleType, tables: Any) -> None:
    """Protects whoever copies a command from the page: the contestants are two models that a study leaves, or the data's
    answers, and the study's own words start with a study and a size that it has."""
    page = reproduce.write_page(tables)
    commands = re.findall(r"`preflab (winrate [^`]+)`", page)
    assert len(commands) == 14
    for command in commands:
        _, *words = shlex.split(command)
        first, second = parse_contestants(words[: words.index("--testbed")])
        for each in (first, second):
            assert each.source in ("model", "data") and all(
                part.count("/final") == 1 for part in each.members if "/" in part
            )
    assert "sft=runs/hh-paper-evaluator/seed-0/stages/sft/final" in page
    assert "dpo=runs/hh-paper-evaluator/seed-0/dpo/final data:chosen --testbed hh_rlhf" in page
    assert "`saferlhf --size paper-evaluator --model meta-llama/Llama-2-7b-hf`" in page


def test_a_missing_table_is_refused(reproduce: ModuleType, tables: Any) -> None:
    """Tables 9 and 10 share an entry; both are missing without it. A row that is missing is counted."""
    rest = [table for table in tables if table["table"] not in ("Tables 9 and 10", "Figure 2")]
    with pytest.raises(UserError, match="lacks Figure 2, Tables 9 and 10"):
        reproduce.write_page(rest)
    part = next(table for table in tables if table["table"] == "Table 2")["parts"][0]
    part["rows"] = {name: arm for name, arm in part["rows"].items() if name != "DPO"}
    with pytest.raises(UserError, match=r"has 30 cells of Table 2\. The paper has 33"):
        reproduce.write_page(tables)
