"""An opened testbed of dialogues: rows of a prompt with its answers, in three splits that share nothing."""

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
    """`part`, `identity`: what tells these data from others in a provenance."""

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
        """Each prompt once, in the order of the data; outside training a `Problem` shows its public tests only."""
        return list({row.prompt.id: row.prompt for row in self._rows[split]}.values())

    def demonstrations(self, split: Split) -> Sequence[Demonstration]:
        """Each prompt with its answer (the chosen one of a pair), once where pairs repeat it."""
        pairs = {(row.prompt.id, row.answer.text): (row.prompt, row.answer) for row in self._rows[split] if row.answer}
        if not pairs:
            raise self.lacks("answers to imitate (`completion` or `chosen`)", split)
        return [Demonstration(prompt, answer) for prompt, answer in pairs.values()]

    def preferences(self, split: Split) -> Sequence[Preference]:
        """The data's own pairs."""
        pairs = [
            Preference(row.prompt, row.answer, row.rejected, row.margin, row.probability)
            for row in self._rows[split]
            if row.answer and row.rejected
        ]
        if not pairs:
            raise self.lacks("pairs (`chosen` and `rejected`)", split)
        return pairs

    def rankings(self, split: Split) -> Sequence[Ranking]:
        """The data's own rankings of unequal scores; empty where it has none."""
        ranked = [(row.prompt, tuple(zip(*row.ranked, strict=True))) for row in self._rows[split] if row.ranked]
        return [Ranking(prompt, answers, scores) for prompt, (answers, scores) in ranked if len(set(scores)) > 1]

    def rated(self, split: Split) -> Sequence[Rated]:
        """The data's own single answers, desirable or not; empty where it has none."""
        rows = [(row, row.answer or row.rejected) for row in self._rows[split] if row.rated]
        return [Rated(row.prompt, answer, row.answer is not None) for row, answer in rows if answer]

    def hidden_tests(self, split: Split) -> dict[str, Sequence[Test]]:
        """Hidden tests by prompt id, for evaluation alone. Raises `UserError` where there are none."""
        return self._hidden[split] if any(self._hidden[split].values()) else super().hidden_tests(split)

    def provenance(self) -> dict[str, Any]:
        """What a model trained here has seen: training data, and validation data, by which it was chosen."""
        keys = [make_turn_key(row.prompt) for split in ("train", "validation") for row in self._rows[split]]
        return describe_provenance(self.name, self._part, keys, **self._identity)


def _hide_tests(prompt: Prompt) -> Prompt:
    return replace(prompt, hidden_tests=()) if isinstance(prompt, Problem) else prompt
