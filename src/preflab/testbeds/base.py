"""Defines the base classes of testbeds: `TestbedSpec` (the settings) and `Testbed` (the opened data and the judge of
answers).

A testbed does not depend on any model. All methods except `TestbedSpec.open` and `Testbed.prompts` have a default
implementation. preflab can therefore call the same methods on every testbed.
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
    """A placeholder for the judge of a testbed whose answers cannot be tested. Each request for a verdict raises
    `UserError`."""

    def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
        raise UserError(
            "This testbed has no tests to run, because its answers are dialogue. Choose an evaluator and a reward that "
            "score text. The rewards `learned`, `function`, `command` and `http` score text."
        )


class Testbed(ABC):
    """Data in three disjoint splits, and a judge if answers can be tested.

    `notes`: the notes that every report on these data must print. `tested`: whether the data have hidden tests.
    `judge`: the object that runs tests on answers. The judge is never the testbed itself, and stores no data.
    `true_names`: the names of the values that `true_values` returns for each answer; empty if the testbed does not know
    true values. `ordered_by`: the criterion that decides which answer of a pair is the better one, such as `safety` or
    `helpfulness`; '' if the criterion is not known.
    """

    __test__ = False  # without this, pytest collects the class as a test case
    name: str
    notes: tuple[str, ...] = ()
    tested: bool = False
    true_names: tuple[str, ...] = ()
    ordered_by: str = ""
    judge: Judge = NoJudge()

    @abstractmethod
    def prompts(self, split: Split) -> Sequence[Prompt]:
        """Returns the prompts of a split. In `train`, a `Problem` has all its tests. In `validation` and `test`, it has
        only its public tests."""

    def demonstrations(self, split: Split) -> Sequence[Demonstration]:
        """Returns prompts with answers to imitate. Raises `MissingRecords` if the split has no answers to imitate."""
        raise self.lacks("answers to imitate", split)

    def preferences(self, split: Split) -> Sequence[Preference]:
        """Returns the pairs in the data, each with a chosen and a rejected answer. The answers are not sampled from the
        policy. Raises `MissingRecords` if the split has no pairs."""
        raise self.lacks("pairs", split)

    def rankings(self, split: Split) -> Sequence[Ranking]:
        """Returns the data's rankings of three or more answers. The result is empty if the split has no rankings."""
        return ()

    def rated(self, split: Split) -> Sequence[Rated]:
        """Returns the data's single answers, each labelled as desirable or undesirable. The result is empty if the
        split has no labelled answers."""
        return ()

    def hidden_tests(self, split: Split) -> dict[str, Sequence[Test]]:
        """Returns a mapping from prompt id to the hidden tests of the prompt. Only the package `evaluation` calls this
        method. An import contract and a test enforce this rule."""
        raise UserError(f"The testbed {self.name} has no hidden tests in its {split} split: choose another evaluator.")

    def true_values(
        self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]
    ) -> list[Mapping[str, float]]:
        """Returns the true values of each answer, one value for each name in `true_names`. `completions[b]` is the
        answer to `prompts[b]`. Only the package `evaluation` calls this method. An import contract and a test enforce
        this rule."""
        raise UserError(
            f"The testbed {self.name} does not know the true values of answers. Choose another evaluator. Two testbeds "
            "that know the true values are `sentiment` and `safeworld`."
        )

    def words(self) -> tuple[str, ...]:
        """Returns every word that can occur in prompts and answers. Returns an empty tuple if preflab cannot make a
        model with one token per word for this testbed."""
        return ()

    def provenance(self) -> dict[str, Any] | None:
        """Returns the provenance record of a model that is trained on this testbed (see `describe_provenance`). The
        record identifies the data that the model has seen. Returns None if the testbed cannot identify these data."""
        return None

    def lacks(self, records: str, split: Split) -> MissingRecords:
        """Returns an error. The error says that a split does not have the records that a training method needs.
        `records`: the name of these records in the error message, such as "pairs"."""
        return MissingRecords(
            f"The testbed {self.name} has no {records} in its {split} split, but this method needs them. "
            "Choose another method, or other data."
        )


class TestbedSpec(Spec):
    """The settings of a testbed. `evaluator`: the kind of evaluator that this testbed uses by default; None if the
    testbed has no default evaluator."""

    __test__: ClassVar[bool] = False
    belongs: ClassVar[str] = "a testbed: it belongs under `testbed:`"
    evaluator: ClassVar[str | None] = None

    @property
    def language(self) -> str:
        """The name that pygments uses for the programming language of the answers. Empty if the answers are not
        programs, or if their language is not known."""
        return ""

    def locate(self, prompt: Prompt) -> str:
        """Returns a text that tells the user where a prompt stands in the data. The text names the file and line if the
        testbed knows them, and the prompt's id otherwise."""
        return f"prompt {prompt.id!r}"

    @abstractmethod
    def open(self, context: Context) -> AbstractContextManager[Testbed]:
        """Opens the testbed. Raises `UserError` if data are missing or damaged."""


def require_testbed(opened: object) -> Testbed:
    """Checks the testbed that a spec opened, and returns the testbed. Raises `UserError` if the testbed does not derive
    from `Testbed`, or if its judge does not derive from `Judge`. Also raises `UserError` if the judge is the testbed
    itself. In that situation, a reward could read the data through the judge."""
    testbed = require_base(opened, Testbed)
    judge = cast("object", testbed.judge)  # in a user's class, `judge` can be any object
    if judge is opened or not isinstance(judge, Judge):
        raise UserError(
            f"The judge of the testbed {testbed.name} is a {name_class(type(judge))}. The judge must be a separate object "
            f"that derives from {name_class(Judge)}. If the judge were the testbed or one of its methods, a reward "
            "could reach the hidden tests."
        )
    return testbed


def count_records(testbed: Testbed) -> dict[Split, list[int | None]]:
    """Returns the number of records of each kind in `RECORD_KINDS`, for each split. The number is None if the split has
    no records of that kind. Raises `UserError` if records are damaged."""
    readers = (testbed.prompts, testbed.demonstrations, testbed.preferences)
    return {split: [count_rows(read, split) for read in readers] for split in SPLITS}


def count_rows(read: Callable[[Split], Sequence[object]], split: Split) -> int | None:
    """Returns the number of records that `read(split)` returns. `read`: a method of a testbed, such as
    `Testbed.preferences`. Returns None if the split has no records of this kind. Raises `UserError` if the records are
    damaged."""
    rows = read_rows(read, split)
    return None if rows is None else len(rows)


def read_rows(read: Callable[[Split], Sequence[Held]], split: Split) -> Sequence[Held] | None:
    """Returns the records that `read(split)` returns. `read`: a method of a testbed, such as `Testbed.preferences`.
    Returns None if the split has no records of this kind. Raises `UserError` if the records are damaged."""
    try:
        return read(split)
    except MissingRecords:
        return None
