"""`preflab sandbox check`: every attack is held here, and one that gets through is seen."""

from __future__ import annotations

import pytest

from preflab.sandbox import check
from preflab.sandbox.bubblewrap import Bubblewrap
from preflab.sandbox.check import ATTACKS, REACHED, Attack, attack, describe


def test_every_attack_is_held(walls: Bubblewrap) -> None:
    """Protects what the command promises."""
    assert [(found.attack, found.seen) for found in attack(walls) if not found.held] == []
    assert {name for name, _ in describe(walls)} == {"walls", "system calls", "user id", "limits", "not stopped"}


def test_an_attack_that_gets_through_is_seen(walls: Bubblewrap, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from a check that cannot fail: one that reaches, one that is not stopped, one that ends as no hole would."""
    through = (
        Attack("says so", f"print('{REACHED}')"),
        Attack("was to be stopped", "pass", "timeout"),
        Attack("was to be killed", "pass", code=-31),
        Attack("is harmless", "pass"),
    )
    monkeypatch.setattr(check, "ATTACKS", through)
    assert [found.held for found in attack(walls)] == [False, False, False, True]
    assert len({one.name for one in ATTACKS}) == len(ATTACKS)
