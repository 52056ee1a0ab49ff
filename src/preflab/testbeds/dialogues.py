"""Defines `Dialogues`, an opened testbed whose rows are dialogues. A row is a prompt with its answers. The three splits
are disjoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from preflab.data.row import DialogueRow
from preflab.sandbox.judging import Judge
from preflab.testbeds.base import SPLITS, NoJudge, Testbed
from preflab.testbeds.provenance import describe_provenance, make_turn_key
from preflab.types import Demonstration, Preference, Problem, Prompt, Ranking, Rated, Split, Test


class Dialogues(Testbed):
    """An opened testbed whose rows are dialogues. `part`, `identity`: values that identify these data in the provenance
    record of a model."""

    def __init__(
        self,
        name: str,
        rows: Mapping[Split, Sequence[DialogueRow]],
        *,
        part: str,
        identity: Mapping[str, Any],
        notes: Sequence[str] = (),
        judge: Judge | None = None,
    ) -> None:
        self.name = name
        self.judge = judge or NoJudge()
        self.notes = tuple(notes)
        self._part = part
        self._identity = dict(identity)
        self._rows: dict[Split, list[DialogueRow]] = {"train": list(rows["train"])}
        self._hidden: dict[Split, dict[str, Sequence[Test]]] = {}
        for split in SPLITS:
            problems = [row.prompt for row in rows[split] if isinstance(row.prompt, Problem)]
            self._hidden[split] = {problem.id: problem.hidden_tests for problem in problems}
            if split != "train":
                self._rows[split] = [replace(row, prompt=_hide_tests(row.prompt)) for row in rows[split]]
        self.tested = any(tests for problems in self._hidden.values() for tests in problems.values())

    def prompts(self, split: Split) -> Sequence[Prompt]:
        """Returns every prompt of a split once, in the order of the data. In `train`, a `Problem` has all its tests. In
        `validation` and `test`, it has only its public tests."""
        return list({row.prompt.id: row.prompt for row in self._rows[split]}.values())

    def demonstrations(self, split: Split) -> Sequence[Demonstration]:
        """Returns the prompts, each with an answer to imitate. In a pair, the chosen answer is the answer to imitate. A
        prompt with several answers occurs once for each different answer. Raises `MissingRecords` if the split has no
        answers to imitate."""
        pairs = {(row.prompt.id, row.answer.text): (row.prompt, row.answer) for row in self._rows[split] if row.answer}
        if not pairs:
            raise self.lacks("answers to imitate (`completion` or `chosen`)", split)
        return [Demonstration(prompt, answer) for prompt, answer in pairs.values()]

    def preferences(self, split: Split) -> Sequence[Preference]:
        """Returns the pairs in the data. Raises `MissingRecords` if the split has no pairs."""
        pairs = [
            Preference(row.prompt, row.answer, row.rejected, row.margin, row.probability, *row.safe)
            for row in self._rows[split]
            if row.answer and row.rejected
        ]
        if not pairs:
            raise self.lacks("pairs (`chosen` and `rejected`)", split)
        return pairs

    def rankings(self, split: Split) -> Sequence[Ranking]:
        """Returns the rankings in the data, except rankings whose scores are all equal. The result is empty if no
        ranking is left."""
        ranked = [(row.prompt, tuple(zip(*row.ranked, strict=True))) for row in self._rows[split] if row.ranked]
        return [Ranking(prompt, answers, scores) for prompt, (answers, scores) in ranked if len(set(scores)) > 1]

    def rated(self, split: Split) -> Sequence[Rated]:
        """Returns the data's single answers, each labelled as desirable or undesirable. The result is empty if the
        split has no labelled answers."""
        rows = [(row, row.answer or row.rejected) for row in self._rows[split] if row.rated]
        return [Rated(row.prompt, answer, row.answer is not None) for row, answer in rows if answer]

    def hidden_tests(self, split: Split) -> dict[str, Sequence[Test]]:
        """Returns a mapping from prompt id to the hidden tests of the prompt. Only the evaluation uses these tests.
        Raises `UserError` if the split has no hidden tests."""
        return self._hidden[split] if any(self._hidden[split].values()) else super().hidden_tests(split)

    def provenance(self) -> dict[str, Any]:
        """Returns the provenance record of a model that is trained on this testbed. The record covers the training
        data, and also the validation data, because the validation data are used to select the model."""
        keys = [make_turn_key(row.prompt) for split in ("train", "validation") for row in self._rows[split]]
        return describe_provenance(self.name, self._part, keys, **self._identity)


def _hide_tests(prompt: Prompt) -> Prompt:
    return replace(prompt, hidden_tests=()) if isinstance(prompt, Problem) else prompt
