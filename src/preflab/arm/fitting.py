"""Handles rows of data that do not fit a model, because the chat template rejects the row or because the row is longer
than the model's context.

A run counts these rows before any training. Depending on `too_long`, the run then stops, drops these rows or cuts them.
A row that the chat template rejects is never cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from preflab.arm.cutting import cut_answers, describe_cuts, is_same_after_cut
from preflab.arm.spec import TooLong
from preflab.data.check import AnyRecord
from preflab.errors import UserError
from preflab.models.lm import LanguageModel
from preflab.models.refusal import RefusalFinder
from preflab.testbeds.base import SPLITS, Testbed, count_rows
from preflab.text import counted
from preflab.types import Completion, Demonstration, Preference, Prompt, Ranking, Rated, Split, Test

SURELY_FITS = 512
"""The assumed largest number of tokens that a chat template adds to a row. If the bytes of a row plus this number do
not exceed the context, the row fits, because a token has at least one byte. The tokens of such a row need not be
counted."""
Row = TypeVar("Row", bound=AnyRecord)


@dataclass(frozen=True)
class Fitting:
    """Fits rows into the context of a model. `rule`: the treatment of rows that are too long: they stop the run, are
    dropped, or are cut. `limit`: the number of tokens after which the method cuts every answer of the data."""

    lm: LanguageModel
    rule: TooLong
    limit: int

    def fit(
        self, rows: Sequence[Row], where: str, locate: Callable[[Prompt], str], room: int = 0
    ) -> tuple[list[Row], str]:
        """Drops or cuts the rows that do not fit. Returns the resulting rows, and a note if some rows did not fit.
        `where`: a phrase that names the rows in messages. `locate`: returns the file and line of a prompt, for
        messages. `room`: for a row that is only a prompt, the number of tokens that must stay free for the answer.
        Raises `UserError` if a row does not fit and the rule is `stop`, or if the rule drops every row."""
        taken, refused = self._drop_refused(rows, where, locate)
        kept, too_long = self._fit_lengths(taken, where, locate, room)
        return kept, " ".join(filter(None, (refused, too_long)))

    def cut(self, rows: Sequence[Row], where: str, *, training: bool) -> tuple[list[Row], str]:
        """Counts the answers that the method cuts after `limit` tokens. If `training` is True, leaves out a row if the
        cut makes all its answers the same. Returns the remaining rows, and a note if an answer is cut. Raises
        `UserError` if no row remains."""
        kept: list[Row] = []
        answers = cut = 0
        for row in rows:
            own = _answers_of(row)
            cuts = cut_answers(self.lm, own, self.limit)
            answers, cut = answers + len(own), cut + len(cuts)
            if not (training and is_same_after_cut(own, cuts)):
                kept.append(row)
        of_rows = f"{counted(answers, 'answer')} of {where}"
        return kept, describe_cuts(cut, of_rows, self.limit, same=len(rows) - len(kept), left=len(kept))

    def _drop_refused(self, rows: Sequence[Row], where: str, locate: Callable[[Prompt], str]) -> tuple[list[Row], str]:
        """Drops the rows that the chat template rejects. Returns the other rows, and a note if rows were dropped.
        Raises `UserError` if the chat template rejects a row and the rule is not `drop`, or if no row is left."""
        finder = RefusalFinder(self.lm)
        refusals = [finder.find(_prompt_of(row), _answers_of(row)) for row in rows]
        taken = [row for row, refusal in zip(rows, refusals, strict=True) if refusal is None]
        if len(taken) == len(rows):
            return taken, ""
        fault = (
            f"{len(rows) - len(taken)} of {counted(len(rows), 'row')} of {where} do not fit the model's chat template"
        )
        if self.rule == "drop" and taken:
            return taken, f"{fault}; these rows were left out."
        row, refusal = next((row, refusal) for row, refusal in zip(rows, refusals, strict=True) if refusal is not None)
        remedy = (
            "Drop these rows with `too_long: drop` (`--too-long drop`)" if taken else "No row is left. Change the rows"
        )
        raise UserError(
            f"{fault}. The first is {locate(_prompt_of(row))}. {refusal.reason} {remedy}, or use another model. "
            "`preflab data check FILE --model MODEL` counts these rows."
        )

    def _fit_lengths(
        self, rows: Sequence[Row], where: str, locate: Callable[[Prompt], str], room: int
    ) -> tuple[list[Row], str]:
        """Drops or cuts the rows that are longer than the context. The arguments and the return value are the same as
        for `fit`."""
        kept: list[Row] = []
        too_long: list[Row] = []
        for row in rows:
            if self._fits(row, room):
                kept.append(row)
                continue
            too_long.append(row)
            if self.rule == "cut":
                kept.append(self._cut(row, room))
        if not too_long:
            return kept, ""
        context = f"the model's context of {self.lm.context} tokens"
        fault = f"{len(too_long)} of {counted(len(rows), 'row')} of {where} do not fit {context}"
        if self.rule == "stop":
            place, tokens = locate(_prompt_of(too_long[0])), self._tokens(too_long[0], room)
            raise UserError(
                f"{fault}. The first is {place}, which takes {tokens} tokens with its answer. Drop these rows with "
                "`too_long: drop` (`--too-long drop`), shorten them with `cut`, or use a model with a longer context."
            )
        if not kept:
            raise UserError(
                f"{fault}. No row is left. Shorten the rows with `too_long: cut` (`--too-long cut`), or use a model "
                "with a longer context."
            )
        return kept, f"{fault}; these rows were {'left out' if self.rule == 'drop' else 'shortened'}."

    def _fits(self, row: AnyRecord, room: int) -> bool:
        prompt, answers = _prompt_of(row), _answers_of(row)
        letters = sum(len(turn.content.encode()) for turn in prompt.turns) + SURELY_FITS
        letters += max((len(answer.text.encode()) for answer in answers), default=room)
        return letters <= self.lm.context or self._tokens(row, room) <= self.lm.context

    def _tokens(self, row: AnyRecord, room: int) -> int:
        """Returns the number of tokens of the row's prompt and its longest answer together."""
        return len(self.lm.encode_prompt(_prompt_of(row))) + self._needed(row, room)

    def _needed(self, row: AnyRecord, room: int) -> int:
        lengths = [len(self.lm.encode_completion(answer)) for answer in _answers_of(row)]
        return max((min(max(length, 1), self.limit) for length in lengths), default=room)

    def _cut(self, row: Row, room: int) -> Row:
        """Reserves tokens for the longest answer. The reserve is at most half of the context, or at most `room` tokens
        if `room` is more than half of the context. Cuts the beginning of the prompt until the prompt fits the rest of
        the context. Then cuts the end of each answer that is still too long."""
        space = self.lm.context - min(self._needed(row, room), max(room, self.lm.context // 2))
        prompt = self._cut_prompt(_prompt_of(row), space)
        space = self.lm.context - len(self.lm.encode_prompt(prompt))
        return _with_texts(row, prompt, [self._cut_answer(answer, space) for answer in _answers_of(row)])

    def _cut_prompt(self, prompt: Prompt, space: int) -> Prompt:
        """Drops the oldest turns of the prompt, but not a system turn, until at most `space` tokens are left. If this
        is not enough, cuts the beginning of the last user turn."""
        system = prompt.turns[:1] if prompt.turns[0].role == "system" else ()
        starts = [place for place, turn in enumerate(prompt.turns) if turn.role == "user"]
        for start in starts:
            shorter = replace(prompt, turns=system + prompt.turns[start:])
            if len(self.lm.encode_prompt(shorter)) <= space:
                return shorter
        last = prompt.turns[starts[-1] :] if starts else prompt.turns[-1:]

        def without(letters: int) -> Prompt:
            return replace(prompt, turns=(*system, replace(last[0], content=last[0].content[letters:]), *last[1:]))

        letters = _least(len(last[0].content), lambda n: len(self.lm.encode_prompt(without(n))) <= space)
        if letters is None:
            raise UserError(
                f"Prompt {prompt.id!r} does not fit the model's context, even if its last question is shortened."
            )
        return without(letters)

    def _cut_answer(self, answer: Completion, space: int) -> Completion:
        if min(len(self.lm.encode_completion(answer)), self.limit) <= space:
            return answer
        text = answer.text

        def fits(lost: int) -> bool:
            return len(self.lm.encode_completion(Completion(text[: len(text) - lost], True))) <= space

        return Completion(text[: len(text) - (_least(len(text), fits) or 0)], True)


class FittedTestbed(Testbed):
    """Wraps the testbed `inner`, and drops or cuts the rows that do not fit the model. `rooms`: for each split whose
    prompts the policy answers, the number of tokens to keep free for an answer. `held_out_pairs`: at most this many
    pairs are read from the validation split, and at most as many from the test split (0: all pairs). `notes`: the notes
    of `inner`. If some rows of a split do not fit, a note is added when these rows are read."""

    def __init__(
        self,
        inner: Testbed,
        fitting: Fitting,
        rooms: Mapping[Split, int],
        locate: Callable[[Prompt], str],
        held_out_pairs: int = 0,
    ) -> None:
        self.inner, self.fitting, self.rooms, self.locate = inner, fitting, rooms, locate
        self.held_out_pairs = held_out_pairs
        self.name, self.tested, self.judge = inner.name, inner.tested, inner.judge
        self.true_names, self.ordered_by = inner.true_names, inner.ordered_by
        self.notes = tuple(inner.notes)
        self._fitted: dict[tuple[str, Split], list[Any]] = {}

    def prompts(self, split: Split) -> Sequence[Prompt]:
        if split not in self.rooms:
            return self.inner.prompts(split)
        return self._fit("prompts", split, self.inner.prompts, self.rooms[split])

    def demonstrations(self, split: Split) -> Sequence[Demonstration]:
        return self._fit("demonstrations", split, self.inner.demonstrations)

    def preferences(self, split: Split) -> Sequence[Preference]:
        def read(split: Split) -> Sequence[Preference]:
            pairs = self.inner.preferences(split)
            return pairs[: self.held_out_pairs] if self.held_out_pairs and split != "train" else pairs

        return self._fit("pairs", split, read)

    def rankings(self, split: Split) -> Sequence[Ranking]:
        return self._fit("rankings", split, self.inner.rankings)

    def rated(self, split: Split) -> Sequence[Rated]:
        return self._fit("labelled answers", split, self.inner.rated)

    def hidden_tests(self, split: Split) -> dict[str, Sequence[Test]]:
        return self.inner.hidden_tests(split)

    def true_values(
        self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]
    ) -> list[Mapping[str, float]]:
        return self.inner.true_values(split, prompts, completions)

    def words(self) -> tuple[str, ...]:
        return self.inner.words()

    def provenance(self) -> dict[str, Any] | None:
        return self.inner.provenance()

    def fit_file(self, rows: Sequence[Row], path: Path, locate: Callable[[Prompt], str]) -> list[Row]:
        """Drops or cuts the rows of a user's file that do not fit the model. Returns the resulting rows."""
        fitted, note = self.fitting.fit(rows, str(path), locate)
        kept, cut = self.fitting.cut(fitted, str(path), training=True)
        self._add_notes(note, cut)
        return kept

    def _fit(self, noun: str, split: Split, read: Callable[[Split], Sequence[Row]], room: int = 0) -> list[Row]:
        if (noun, split) not in self._fitted:
            where = f"the {noun} of {self.name} ({split})"
            fitted, note = self.fitting.fit(read(split), where, self.locate, room)
            self._fitted[noun, split], cut = self.fitting.cut(fitted, where, training=split == "train")
            self._add_notes(note, cut)
        return self._fitted[noun, split]

    def _add_notes(self, *notes: str) -> None:
        self.notes += tuple(note for note in notes if note and note not in self.notes)


def fit_held_out(present: Callable[[Split], Sequence[object]], fitted: Callable[[Split], Sequence[object]]) -> None:
    """Reads the rows of the validation split and of the test split, so that rows that do not fit the model are found
    before training. Skips a split without rows. `present`: reads the original rows of a split. `fitted`: reads the rows
    of a split and fits them to the model. Raises `UserError` if rows do not fit and the run must stop."""
    for split in SPLITS[1:]:
        if count_rows(present, split) is not None:
            fitted(split)


def _prompt_of(row: AnyRecord) -> Prompt:
    return row if isinstance(row, Prompt) else row.prompt


def _answers_of(row: AnyRecord) -> tuple[Completion, ...]:
    match row:
        case Demonstration() | Rated():
            return (row.completion,)
        case Preference():
            return (row.chosen, row.rejected)
        case Ranking():
            return row.completions
        case _:
            return ()


def _with_texts(row: AnyRecord, prompt: Prompt, answers: Sequence[Completion]) -> Any:
    """Returns a copy of the row with this prompt and these answers."""
    match row:
        case Demonstration() | Rated():
            return replace(row, prompt=prompt, completion=answers[0])
        case Preference():
            return replace(row, prompt=prompt, chosen=answers[0], rejected=answers[1])
        case Ranking():
            return replace(row, prompt=prompt, completions=tuple(answers))
        case _:
            return prompt


def _least(most: int, holds: Callable[[int], bool]) -> int | None:
    """Returns the least n in 0..most for which `holds(n)` is true; None if `holds(most)` is false. `holds` must be
    monotone: if it is true for a number, it is true for all larger numbers."""
    low, high = 0, most
    if not holds(most):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
