"""Defines the base classes of testbeds: `TestbedSpec` (the settings) and `Testbed` (the opened data and their judge).

A testbed knows nothing of models. Every method but `TestbedSpec.open` and `Testbed.prompts` has a default, so that
preflab can call the same methods on every testbed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, TypeVar, cast

from preflab.errors import MissingRecords, UserError
from preflab.sandbox.judging import Judge, TestedAnswers
from preflab.spec import Context, Spec, name_class, require_base
from preflab.types import Completion, Demonstration, Preference, Prompt, Ranking, Rated, Split, Test, Verdict

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Held = TypeVar("Held")
RECORD_KINDS = ("prompts", "demonstrations", "preferences")


class NoJudge(Judge):
    """The judge of a testbed whose answers cannot be tested. Raises `UserError` when it is asked for a verdict."""

    def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
        raise UserError(
            "This testbed has no tests to run: its answers are dialogue. Choose an evaluator and a reward that read "
            "text. The rewards learned, function, command and http read text."
        )


class Testbed(ABC):
    """Data in three disjoint splits, and a judge if answers can be tested.

    `notes`: the notes that every report on these data must print. `tested`: whether there are hidden tests and a
    `judge` to run them. The judge holds no data: it is a separate object, never the testbed itself. `true_names`: the
    names of the true values of an answer, if the testbed knows the true values. `ordered_by`: what decides which answer
    of a pair is the better one, such as `safety` or `helpfulness`; '' if this is not known.
    """

    __test__ = False  # not a test case for pytest to collect
    name: str
    notes: tuple[str, ...] = ()
    tested: bool = False
    true_names: tuple[str, ...] = ()
    ordered_by: str = ""
    judge: Judge = NoJudge()

    @abstractmethod
    def prompts(self, split: Split) -> Sequence[Prompt]:
        """Returns the prompts of a split. In `validation` and `test`, a `Problem` has only its public tests."""

    def demonstrations(self, split: Split) -> Sequence[Demonstration]:
        """Returns prompts with answers to imitate. Raises `MissingRecords` if the split has no answers to imitate."""
        raise self.lacks("answers to imitate", split)

    def preferences(self, split: Split) -> Sequence[Preference]:
        """Returns ordered pairs of answers that come with the data (not sampled from the policy). Raises
        `MissingRecords` if the split has no pairs."""
        raise self.lacks("pairs", split)

    def rankings(self, split: Split) -> Sequence[Ranking]:
        """Returns rankings of three or more answers that come with the data; empty if the split has no rankings."""
        return ()

    def rated(self, split: Split) -> Sequence[Rated]:
        """Returns single answers that come with the data, each labelled desirable or not; empty if the split has no
        labelled answers."""
        return ()

    def hidden_tests(self, split: Split) -> dict[str, Sequence[Test]]:
        """Returns the hidden tests by prompt id. Only the package `evaluation` calls this method; an import contract
        and a test ensure this."""
        raise UserError(f"The testbed {self.name} has no hidden tests in its {split} split: choose another evaluator.")

    def true_values(
        self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]
    ) -> list[Mapping[str, float]]:
        """Returns the true values of each answer, one value for each name in `true_names`. `completions[b]` answers
        `prompts[b]`. Only the package `evaluation` calls this method; an import contract and a test ensure this."""
        raise UserError(
            f"The testbed {self.name} does not know the true values of answers. Choose another evaluator. The testbeds "
            "sentiment and safeworld know them."
        )

    def words(self) -> tuple[str, ...]:
        """Returns every word that prompts and answers may contain. Returns an empty tuple if no model with one token
        per word can be made for this testbed."""
        return ()

    def provenance(self) -> dict[str, Any] | None:
        """Returns the provenance record of a model that is trained on this testbed (see `describe_provenance`). Returns
        None if the testbed cannot say which data such a model has seen."""
        return None

    def lacks(self, records: str, split: Split) -> MissingRecords:
        """Returns the error for a split that has no records of a kind. `records`: what is missing, in words."""
        return MissingRecords(
            f"The testbed {self.name} has no {records} in its {split} split, but this method needs them. "
            "Choose another method, or data that have them."
        )


class TestbedSpec(Spec):
    """The settings of a testbed. `evaluator`: the kind of evaluator that is used on this testbed unless the user names
    another."""

    __test__: ClassVar[bool] = False
    belongs: ClassVar[str] = "a testbed: it belongs under `testbed:`"
    evaluator: ClassVar[str | None] = None

    @property
    def language(self) -> str:
        """The programming language of the answers, by its name in pygments. Empty if the answers are text or the
        language is not known."""
        return ""

    def locate(self, prompt: Prompt) -> str:
        """Returns the place of a prompt in the data, in words: the file and line if the testbed knows them, otherwise
        the prompt's id."""
        return f"prompt {prompt.id!r}"

    @abstractmethod
    def open(self, context: Context) -> AbstractContextManager[Testbed]:
        """Opens the testbed. Raises `UserError` if data are missing or damaged."""


def require_testbed(opened: object) -> Testbed:
    """Returns the testbed that a spec opened. Raises `UserError` if the testbed does not derive from `Testbed`, or if
    its judge does not derive from `Judge`. Also raises `UserError` if the judge is the testbed itself, because a reward
    could then reach the data through the judge."""
    testbed = require_base(opened, Testbed)
    judge = cast("object", testbed.judge)  # a user's class may have any object as its judge
    if judge is opened or not isinstance(judge, Judge):
        raise UserError(
            f"The judge of the testbed {testbed.name} is a {name_class(type(judge))}. It must be a separate object "
            f"that derives from {name_class(Judge)}. If the judge were the testbed or one of its methods, a reward "
            "could reach the hidden tests."
        )
    return testbed


def count_records(testbed: Testbed) -> dict[Split, list[int | None]]:
    """Counts the records of each of `RECORD_KINDS` in each split. A count is None if the split has no records of that
    kind. Raises `UserError` if records are damaged."""
    readers = (testbed.prompts, testbed.demonstrations, testbed.preferences)
    return {split: [count_rows(read, split) for read in readers] for split in SPLITS}


def count_rows(read: Callable[[Split], Sequence[object]], split: Split) -> int | None:
    """Counts the records that `read`, a method of a testbed, returns for a split. Returns None if the split has no
    records of this kind. Raises `UserError` if the records are damaged."""
    rows = read_rows(read, split)
    return None if rows is None else len(rows)


def read_rows(read: Callable[[Split], Sequence[Held]], split: Split) -> Sequence[Held] | None:
    """Returns the records that `read`, a method of a testbed, returns for a split. Returns None if the split has no
    records of this kind. Raises `UserError` if the records are damaged."""
    try:
        return read(split)
    except MissingRecords:
        return None
