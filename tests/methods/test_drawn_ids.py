"""A policy's own samples that are learned from again keep the ids that were drawn: text may have other ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tests.methods.toy import Scored, opened, untrained

from preflab.arm.data import read_answers
from preflab.batch import TokenBatch, collate, collate_demonstrations, collate_pairs, collate_rankings
from preflab.methods.dpo_iter import DPOIter, open_pair_rounds
from preflab.methods.expert_iteration import ExpertIteration, open_answer_rounds
from preflab.methods.pairs import PairDraw, Pairs
from preflab.methods.rankings import Rankings
from preflab.models import tiny
from preflab.models.heads import make_reward_model
from preflab.models.lm import LanguageModel
from preflab.models.spec import TinyShape
from preflab.sampling.base import Decoding, Sampler, Samples
from preflab.types import (
    Completion,
    Demonstration,
    Ranking,
    best_and_worst,
    from_preference,
    from_ranking,
    to_preference,
)

BYTES = [3 + byte for byte in b" red"]
"""The word "red", one token in the vocabulary, drawn as the blank and three bytes."""


class Spelling(Sampler):
    """Answers "red" in bytes and "blue" as a word, in turns."""

    def sample(
        self, lm: LanguageModel, prompts: Sequence[Sequence[int]], *, seeds: Sequence[int], decoding: Decoding
    ) -> Samples:
        word = lm.encode_completion(Completion("blue"))
        rows = [[*BYTES, *lm.end_ids] if row % 2 == 0 else word for row in range(len(prompts))]
        batch = collate(prompts, rows, [False] * len(rows))
        return Samples(batch, torch.zeros(batch.mask.shape))


def parts(directory: Path, policy: LanguageModel) -> Any:
    reward = Scored(lambda text: float(text == "red"))
    return opened(directory, policy, reward=reward, sampler=Spelling())


def rows_of(batch: TokenBatch) -> list[list[int]]:
    return [ids[:n] for ids, n in zip(batch.completion_ids.tolist(), batch.completion_lengths.tolist(), strict=True)]


def journalled(data: Any) -> Any:
    return json.loads(json.dumps(data))


def test_the_text_has_other_ids() -> None:
    """What this file rests on: "red" in bytes reads as "red", whose own id is one token."""
    policy = untrained()
    answer = policy.decode([*BYTES, *policy.end_ids], truncated=False)
    assert answer == Completion("red")
    assert len(policy.encode_completion(Completion("red"))) == 2


def test_pairs_keep_what_was_drawn(tmp_path: Path) -> None:
    """Protects the stage `pairs`, through its file: DPO and a reward model on it read the very ids."""
    policy = untrained()
    with parts(tmp_path, policy) as opened_parts:
        pairs = Pairs(draw=PairDraw(samples=2, rule="best-worst")).train(opened_parts)
    read = [to_preference(journalled(from_preference(pair))) for pair in pairs]
    for model in (policy, make_reward_model(policy, seed=0)):
        data = collate_pairs(read, model.encode, limit=16)
        assert rows_of(data.chosen) == [[*BYTES, *policy.end_ids]] * len(read)
    assert collate_pairs(read, policy.encode, limit=2).chosen.truncated.all()


def test_rankings_keep_what_was_drawn(tmp_path: Path) -> None:
    """Protects the stage `rankings`, through its file, as a ranking and as a pair of its best and worst."""
    policy = untrained()
    with parts(tmp_path, policy) as opened_parts:
        rankings = Rankings(samples=2).train(opened_parts)
    file = tmp_path / "rankings.jsonl"
    file.write_text("".join(json.dumps(from_ranking(ranking)) + "\n" for ranking in rankings))
    read = [row for row in read_answers(file) if isinstance(row, Ranking)]
    candidates = rows_of(collate_rankings(read, policy.encode, limit=16).candidates)
    assert candidates.count([*BYTES, *policy.end_ids]) == len(read)
    pairs = collate_pairs([best_and_worst(ranking) for ranking in read], policy.encode, limit=16)
    assert rows_of(pairs.chosen) == [[*BYTES, *policy.end_ids]] * len(read)


def test_rounds_keep_what_was_drawn(tmp_path: Path) -> None:
    """Protects DPO-Iter and expert iteration, from the journal too: a resumed run learns from the same ids."""
    policy = untrained()
    drawn = [*BYTES, *policy.end_ids]
    for spec, begin in (
        (DPOIter(draw=PairDraw(samples=2, rule="best-worst")), open_pair_rounds),
        (ExpertIteration(samples=2, right=1.0, decoding=Decoding(max_new_tokens=4)), open_answer_rounds),
    ):
        with parts(tmp_path / spec.kind, policy) as opened_parts:
            rounds: Any = begin(spec, opened_parts)  # type: ignore[operator]  # each with its own spec
            assert rounds.begin()
            resumed: Any = begin(spec, opened_parts)  # type: ignore[operator]  # as above
            resumed.load_state_dict(rounds.state_dict())
        for data in (rounds.data, resumed.data):
            assert rows_of(data if isinstance(data, TokenBatch) else data.chosen) == [drawn] * len(data)


def test_another_vocabulary_reads_the_text() -> None:
    """Protects a reward model or a policy with a tokenizer of its own: ids of another vocabulary mean nothing to it."""
    policy = untrained()
    other = tiny.make_tiny(TinyShape(width=8, inner=8, layers=1, heads=2, words=("one", "red", "two")), seed=0)
    answer = policy.decode([*BYTES, *policy.end_ids], truncated=False)
    demonstration = [Demonstration(opened_prompt(), answer)]
    own = rows_of(collate_demonstrations(demonstration, other.encode, limit=16))
    assert own == [other.encode_completion(Completion("red"))]


def test_an_answer_that_was_not_ended_by_the_first_end_id(tmp_path: Path) -> None:
    """Protects the end that was drawn: a second end id stays the one that is learned."""
    policy = LanguageModel(**{**vars(untrained()), "end_ids": (1, 3)})
    answer = policy.decode([*BYTES, 3], truncated=False)
    assert policy.encode(opened_prompt(), answer, 16).answer == [*BYTES, 3]


def opened_prompt() -> Any:
    from tests.methods.toy import Toy

    return Toy().prompts("train")[0]
