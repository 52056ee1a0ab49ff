"""What a testbed offers: its spec, and the opened testbed. A testbed is data with a judge, and knows nothing of models.

Both are base classes with a default for all but the prompts, so that preflab asks every testbed the same questions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, cast

from preflab.errors import UserError
from preflab.sandbox.judging import Judge, TestedAnswers
from preflab.spec import Context, Spec, name_class, require_base
from preflab.types import Demonstration, Preference, Prompt, Ranking, Rated, Split, Test, Verdict

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
RECORD_KINDS = ("prompts", "demonstrations", "preferences")


class NoJudge(Judge):
    """The judge of a testbed whose answers cannot be tested: it raises `UserError`."""

    def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
        raise UserError(
            "This testbed has no tests to run: its answers are dialogue. Choose a reward that reads text (learned, "
            "function, command, http) and an evaluator that does."
        )


class Testbed(ABC):
    """Data in three splits that share nothing, and a judge where answers are programs.

    `notes`: what every report on this data must say. `tested`: whether there are hidden tests, and a `judge` to run them.
    The judge holds no data: it is an object beside the testbed, never the testbed itself.
    """

    __test__ = False  # not a test case for pytest to collect
    name: str
    notes: tuple[str, ...] = ()
    tested: bool = False
    judge: Judge = NoJudge()

    @abstractmethod
    def prompts(self, split: Split) -> Sequence[Prompt]:
        """The prompts of a split. In `validation` and `test` a `Problem` carries its public tests only."""

    def demonstrations(self, split: Split) -> Sequence[Demonstration]:
        """Prompts with answers to imitate. Raises `UserError` where there are none."""
        raise self.lacks("answers to imitate", split)

    def preferences(self, split: Split) -> Sequence[Preference]:
        """Ordered pairs of answers that come with the data (not sampled from the policy). Raises `UserError` where there are
        none."""
        raise self.lacks("pairs", split)

    def rankings(self, split: Split) -> Sequence[Ranking]:
        """Rankings of three or more answers that come with the data; empty where there are none."""
        return ()

    def rated(self, split: Split) -> Sequence[Rated]:
        """Single answers, desirable or not, that come with the data; empty where there are none."""
        return ()

    def hidden_tests(self, split: Split) -> dict[str, Sequence[Test]]:
        """Hidden tests by prompt id. Only `evaluation/` asks for them (an import contract and a test)."""
        raise UserError(f"The testbed {self.name} has no hidden tests in its {split} split: choose another evaluator.")

    def words(self) -> tuple[str, ...]:
        """Every word of its prompts and answers, where a model with a word vocabulary can be made for it."""
        return ()

    def provenance(self) -> dict[str, Any] | None:
        """What a model trained here has seen, as `describe_provenance` writes it; None where that is not known."""
        return None

    def lacks(self, records: str, split: Split) -> UserError:
        """The error of a testbed that has no such records in a split."""
        return UserError(f"The testbed {self.name} has no {records} in its {split} split, which this method needs.")


class TestbedSpec(Spec):
    """The settings of a testbed. `evaluator`: the kind of evaluator that measures on it unless the user names another."""

    __test__: ClassVar[bool] = False
    belongs: ClassVar[str] = "a testbed: it belongs under `testbed:`"
    evaluator: ClassVar[str | None] = None

    @property
    def language(self) -> str:
        """The programming language of its answers, as pygments calls it; empty where they are text or not known."""
        return ""

    def locate(self, prompt: Prompt) -> str:
        """Where the data hold a prompt, in words: its file and line where the testbed knows them."""
        return f"prompt {prompt.id!r}"

    @abstractmethod
    def open(self, context: Context) -> AbstractContextManager[Testbed]:
        """The opened testbed. Raises `UserError` for missing or damaged data."""


def require_testbed(opened: object) -> Testbed:
    """The testbed that a spec opened. Raises `UserError` where it or its judge lacks the base class, and where the judge is the
    testbed itself, whose data it would put within a reward's reach."""
    testbed = require_base(opened, Testbed)
    judge = cast("object", testbed.judge)  # a user's class may hold anything there
    if judge is opened or not isinstance(judge, Judge):
        raise UserError(
            f"The judge of the testbed {testbed.name} is a {name_class(type(judge))}. It must be an object of its "
            f"own that derives from {name_class(Judge)}: through a method bound to the testbed a reward could reach the "
            "tests of evaluation."
        )
    return testbed


def count_records(testbed: Testbed) -> dict[Split, list[int | None]]:
    """For each split the number of records of each of `RECORD_KINDS`; None where the testbed has none of a kind there."""
    readers = (testbed.prompts, testbed.demonstrations, testbed.preferences)
    return {split: [count_rows(read, split) for read in readers] for split in SPLITS}


def count_rows(read: Callable[[Split], Sequence[object]], split: Split) -> int | None:
    """How many records a testbed's method reads of a split; None where the testbed has none of its kind there."""
    try:
        return len(read(split))
    except UserError:
        return None
