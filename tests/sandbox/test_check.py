"""`preflab sandbox check`: every attack is held here, and one that gets through is seen."""

from __future__ import annotations

import json

import pytest

from preflab.cli import run_command
from preflab.sandbox import check
from preflab.sandbox.bubblewrap import Bubblewrap
from preflab.sandbox.check import _REACHED, ATTACKS, Attack, attack_walls, describe_walls
from preflab.sandbox.verdict import ProgramTask, Worker
from preflab.types import Test


def test_every_attack_is_held(walls: Bubblewrap) -> None:
    """Protects what the command promises."""
    assert [(trial.attack, trial.end) for trial in attack_walls(walls) if not trial.held] == []
    assert {name for name, _ in describe_walls(walls)} == {"walls", "system calls", "user id", "limits", "not stopped"}


def test_an_attack_that_gets_through_is_seen(walls: Bubblewrap, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from a check that cannot fail: one that reaches, one that is not stopped, one that ends as no hole would."""
    through = (
        Attack("says so", f"print('{_REACHED}')"),
        Attack("was to be stopped", "pass", "timeout"),
        Attack("was to be killed", "pass", code=-31),
        Attack("is harmless", "pass"),
    )
    knows = f"def f():\n    return open('/tmp/main.py').read()[-{len(check.EXPECTED_MARK) + 32}:]"
    monkeypatch.setattr(check, "ATTACKS", through)
    monkeypatch.setattr(check.secrets, "token_hex", lambda count: "f" * 2 * count)
    monkeypatch.setattr(
        check, "VERDICT_ATTACKS", {"knows": knows + f"  # {check.EXPECTED_MARK}{'f' * 32}", "guesses": "def f(): pass"}
    )
    assert [trial.held for trial in attack_walls(walls)] == [False, False, False, True, False, True]
    assert len({one.name for one in ATTACKS}) == len(ATTACKS)


def test_a_search_for_the_expected_value_would_find_it(walls: Bubblewrap) -> None:
    """Protects from a search that finds nothing anywhere: here the value is in the program's memory, as its argument."""
    expected = check.EXPECTED_MARK + "0123456789abcdef" * 2
    task = ProgramTask("call", [Test([expected], expected)], "f", check.QUICK_LIMITS)
    assert Worker(walls).judge(check.VERDICT_ATTACKS["looks for what is expected"], task).correct


@pytest.mark.parametrize("held", [True, False])
def test_the_command_says_what_is_left(
    held: bool, walls: Bubblewrap, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects users without a control group: the command names what is then refused, what nobody measures, and how to get a
    group; in text and as JSON, with exit code 1 where an attack gets through."""
    monkeypatch.setattr(check, "find_groups", lambda: None)
    monkeypatch.setattr(
        check, "attack_walls", lambda walls: iter([check.AttackResult("reads files", held, "status 0")])
    )
    assert run_command(["sandbox", "check"]) == (0 if held else 1)
    text = capsys.readouterr().out
    assert ("No attack got through." in text) is held and ("1 attacks got through." in text) is not held
    assert run_command(["sandbox", "check", "--json"]) == (0 if held else 1)
    record = json.loads(capsys.readouterr().out)
    assert record["attacks"] == [{"attack": "reads files", "held": held, "end": "status 0"}]
    for words in (text, record["walls"]["limits"]):
        for part in (
            "measured from outside",
            "The sandbox refuses",
            "ignoring SIGCHLD",
            "is not measured",
            "pipes",
            "Delegate=yes",
        ):
            assert part in words
    assert "holes in the kernel itself" in text and "holes in the kernel itself" in record["walls"]["not stopped"]
