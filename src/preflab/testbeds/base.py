"""What an opened testbed offers. A testbed is data with a judge; it knows nothing of models.

`Testbed` is a protocol: a plugin's class needs the methods, not the base. A testbed without programs to test (dialogue)
returns prompts that are no `Problem`s and has no judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from preflab.types import Demonstration, Preference, Prompt, Split, Test, Verdict


class Testbed(Protocol):
    """Data in three parts that share nothing, and the judge of its programs where it has one."""

    __test__ = False
    name: str

    def prompts(self, split: Split) -> Sequence[Prompt]:
        """The prompts of a split. In `validation` and `test` a `Problem` carries its public tests only."""
        ...

    def demonstrations(self, split: Split) -> Sequence[Demonstration]:
        """Prompts with answers to imitate."""
        ...

    def preferences(self, split: Split) -> Sequence[Preference]:
        """Ordered pairs of answers that come with the data (not sampled from the policy)."""
        ...

    def judge(self, programs: Sequence[tuple[str, Sequence[Test]]]) -> list[Verdict]:
        """Runs each program on its tests; one verdict a program, whatever it does. Raises `UserError` if there is none."""
        ...


class Held(Protocol):
    """A testbed whose evaluation has hidden tests. Only `evaluation/` asks for them (an import contract and a test)."""

    def hidden_tests(self, split: Split) -> dict[str, Sequence[Test]]:
        """Hidden tests by prompt id."""
        ...
