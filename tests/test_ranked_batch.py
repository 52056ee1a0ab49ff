"""Ranked answers as tensors: a prompt's answers stay together, whatever is selected, cut or moved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.test_batch import contents

from preflab.arm.data import read_answers
from preflab.batch import Encoded, RankedBatch, collate_pairs, collate_rankings, micro_batches
from preflab.errors import UserError
from preflab.types import (
    Completion,
    Preference,
    Prompt,
    Ranking,
    Turn,
    from_preference,
    from_ranking,
    to_preference,
)

ANSWER = st.tuples(st.text("abcde", min_size=1, max_size=5), st.integers(-3, 3))
RANKINGS = st.lists(
    st.tuples(st.text("pqrs", min_size=1, max_size=4), st.lists(ANSWER, min_size=1, max_size=4)), min_size=1, max_size=5
)


def encode(prompt: Prompt, answer: Completion, limit: int) -> Encoded:
    """A character is a token."""
    ids = [ord(letter) for letter in answer.text]
    return Encoded([ord(letter) for letter in prompt.id], ids[:limit], answer.truncated or len(ids) > limit)


def ranking(prompt: str, answers: list[tuple[str, int]]) -> Ranking:
    return Ranking(
        Prompt(prompt, ()), tuple(Completion(text) for text, _ in answers), tuple(float(s) for _, s in answers)
    )


def rows_of(batch: RankedBatch) -> list[tuple[list[tuple[list[int], list[int]]], list[float]]]:
    """Each prompt's answers, read by its count, with their scores."""
    answers, scores, rows = contents(batch.candidates), batch.scores.tolist(), []
    for count in batch.counts.tolist():
        rows.append((answers[:count], scores[:count]))
        answers, scores = answers[count:], scores[count:]
    assert not answers and not scores
    return rows


def test_tables_by_hand() -> None:
    """Protects prompts of different K: values in a prompt's own row, in the answers' order, 0 and False behind them."""
    batch = collate_rankings([ranking("p", [("ab", 1), ("c", 0)]), ranking("qq", [("d", 2)])], encode, limit=9)
    assert len(batch) == 2 and batch.counts.tolist() == [2, 1] and batch.scores.tolist() == [1, 0, 2]
    assert batch.mask.tolist() == [[True, True], [True, False]]
    assert batch.table(torch.tensor([5, 6, 7])).tolist() == [[5, 6], [7, 0]]
    assert batch.lengths.tolist() == [(1 + 2) + (1 + 1), 2 + 1] and batch.tokens == 8


def test_a_table_hands_the_gradient_back() -> None:
    """Protects learning: each answer's value gets the gradient of its own place."""
    batch = collate_rankings([ranking("p", [("a", 1), ("b", 0)]), ranking("q", [("c", 2)])], encode, limit=9)
    values = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (batch.table(values) * torch.tensor([[1.0, 2.0], [3.0, 100.0]])).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [1.0, 2.0, 3.0]


@given(RANKINGS, st.data())
def test_selected_prompts_are_as_if_collated_alone(
    rows: list[tuple[str, list[tuple[str, int]]]], data: st.DataObject
) -> None:
    """Protects from an answer that parts from its prompt or its score: any prompts, in any order, also twice."""
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=5))
    rankings = [ranking(*row) for row in rows]
    part = collate_rankings(rankings, encode, limit=3).select(chosen).to("cpu")
    assert rows_of(part) == rows_of(collate_rankings([rankings[i] for i in chosen], encode, limit=3))


@given(RANKINGS, st.integers(1, 40))
def test_micro_batches_never_part_a_prompt(rows: list[tuple[str, list[tuple[str, int]]]], budget: int) -> None:
    """Protects the loss, which needs all of a prompt's answers at once: together the micro-batches hold each prompt whole."""
    batch = collate_rankings([ranking(*row) for row in rows], encode, limit=9)
    parts: dict[int, object] = {}
    for prompts in micro_batches(batch.lengths, budget):
        parts |= zip(prompts, rows_of(batch.select(prompts)), strict=True)
    assert [parts[row] for row in range(len(batch))] == rows_of(batch)


def test_no_rankings() -> None:
    """Protects the user from a traceback."""
    with pytest.raises(UserError, match="no rankings"):
        collate_rankings([], encode, limit=9)


def test_what_labels_say_stays_with_its_pair() -> None:
    """Protects margins and probabilities: None where no pair states any; 0 and 1 where only this one does not."""
    pair = Preference(Prompt("p", ()), Completion("a"), Completion("b"))
    assert collate_pairs([pair], encode, limit=9).margins is None
    stated = Preference(pair.prompt, pair.chosen, pair.rejected, margin=1.5, probability=0.75)
    batch = collate_pairs([pair, stated], encode, limit=9)
    assert batch.margins is not None and batch.probabilities is not None
    assert batch.margins.tolist() == [0.0, 1.5] and batch.probabilities.tolist() == [1.0, 0.75]
    second = batch.select([1])
    assert second.margins is not None and second.probabilities is not None
    assert second.margins.tolist() == [1.5] and second.probabilities.tolist() == [0.75]


def test_records_as_json_and_back(tmp_path: Path) -> None:
    """Protects what stages hand on; a pair that states nothing is written as before margins were known."""
    prompt = Prompt("p", (Turn("user", "hi"),), "easy")
    plain = Preference(prompt, Completion("a", True), Completion("b"))
    stated = Preference(prompt, Completion("a"), Completion("b"), margin=-0.5, probability=0.25, chosen_safe=False)
    ranking = Ranking(prompt, (Completion("b", True), Completion("a")), (2.5, 0.0))
    assert set(from_preference(plain)) == {"id", "level", "turns", "chosen", "rejected"}
    labelled = Preference(prompt, Completion("a"), Completion("b"), chosen_safe=True, rejected_safe=False)
    rows = [plain, stated, labelled]
    assert [to_preference(from_preference(pair)) for pair in rows] == rows
    file = tmp_path / "rankings.jsonl"
    file.write_text(json.dumps(from_ranking(ranking)) + "\n")
    assert read_answers(file) == [ranking]
