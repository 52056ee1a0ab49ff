"""Training rows are encoded when they are selected, once each, and a batch of them is the batch of the same rows alone."""

from __future__ import annotations

import pytest
import torch

from preflab.batch import Encoded, PairBatch, collate_pairs
from preflab.encoded import CHUNK, EncodedRows
from preflab.errors import UserError
from preflab.types import Completion, Preference, Prompt, Turn


class Counting:
    """Encodes texts by their letters, and counts how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, prompt: Prompt, answer: Completion, limit: int) -> Encoded:
        self.calls += 1
        text = answer.text[:limit]
        return Encoded([ord(letter) for letter in prompt.turns[0].content], [ord(letter) for letter in text], False)


def pairs(count: int) -> list[Preference]:
    prompts = [Prompt(str(number), (Turn("user", "q" * (1 + number % 5)),)) for number in range(count)]
    return [
        Preference(prompt, Completion("a" * (1 + number % 3)), Completion("bb"), margin=float(number))
        for number, prompt in enumerate(prompts)
    ]


def same(left: PairBatch, right: PairBatch) -> bool:
    sides = ((left.chosen, right.chosen), (left.rejected, right.rejected))
    columns = ("prompt_ids", "prompt_lengths", "completion_ids", "completion_lengths", "truncated")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for a, b in sides for name in columns)


def test_nothing_is_encoded_before_it_is_selected() -> None:
    """A run on many rows begins at once: three selected pairs cost six encodings, and none a second time."""
    encode = Counting()
    data = EncodedRows(pairs(1000), collate_pairs, encode, limit=9)
    assert (len(data), encode.calls) == (1000, 0)
    data.select([3, 1, 4])
    assert encode.calls == 6
    data.select(torch.tensor([4, 1]))
    assert encode.calls == 6


def test_a_selection_is_the_batch_of_these_rows() -> None:
    """Ids, lengths and margins are those of the same pairs collated alone, in the order of the selection."""
    rows = pairs(50)
    selected = EncodedRows(rows, collate_pairs, Counting(), limit=9).select([7, 2, 31])
    alone = collate_pairs([rows[7], rows[2], rows[31]], Counting(), limit=9)
    assert same(selected, alone)
    assert selected.margins is not None and selected.margins.tolist() == [7.0, 2.0, 31.0]


def test_lengths_are_those_of_all_rows_whatever_the_chunk() -> None:
    """More rows than one chunk: pair 0 has 1+1+1+2 tokens, pair 1 has 2+2+2+2, and the last as its number says."""
    data = EncodedRows(pairs(CHUNK + 3), collate_pairs, Counting(), limit=9)
    lengths = data.lengths
    last = CHUNK + 2
    assert lengths[:2].tolist() == [5, 8]
    assert int(lengths[last]) == 2 * (1 + last % 5) + 1 + last % 3 + 2
    assert data.tokens == int(lengths.sum())


def test_no_rows_are_refused_at_once() -> None:
    with pytest.raises(UserError, match="no preference pairs"):
        EncodedRows([], collate_pairs, Counting(), limit=9)
