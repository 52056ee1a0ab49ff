"""Pairs from samples: which become pairs, by each rule, and which never do."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.methods.toy import COLOURS, Scored, Toy, opened, untrained

from preflab.errors import UserError
from preflab.methods.pairs import PairDraw, PairRule, Pairs, draw_pairs, pair_answers
from preflab.methods.shared.rollout import score_answers
from preflab.sampling.base import Decoding
from preflab.types import Completion

SHORT = Decoding(max_new_tokens=3)


def texts(
    draw: PairDraw, answers: Sequence[tuple[str, float]], fill: str | None = None, seed: int = 0
) -> list[tuple[str, str]]:
    """(chosen, rejected) texts."""
    pairs = pair_answers(
        draw,
        [Completion(text) for text, _ in answers],
        [score for _, score in answers],
        None if fill is None else Completion(fill),
        random.Random(seed),
    )
    return [(chosen.text, rejected.text) for chosen, rejected, _ in pairs]


ANSWERS = [("c", 2.0), ("a", 1.0), ("d", 3.0), ("b", 1.5)]


def test_best_against_worst() -> None:
    """Protects the rule: 3 against 1, wherever they stand."""
    assert texts(PairDraw(rule="best-worst"), ANSWERS) == [("d", "a")]


def test_the_gap_of_the_scores_goes_with_the_pair() -> None:
    """Protects the margin that a reward model may learn by: 3 - 1 = 2; by a threshold a right answer is 1 above a wrong one,
    whatever their scores."""
    completions, scores = [Completion(text) for text, _ in ANSWERS], [score for _, score in ANSWERS]
    gaps = [
        pair_answers(draw, completions, scores, None, None)[0][2]
        for draw in (PairDraw(rule="best-worst"), PairDraw(rule="best-worst", right=3))
    ]
    assert gaps == [2.0, 1.0]


def test_all_pairs() -> None:
    """Protects the rule: of four different scores all six, each in order."""
    pairs = texts(PairDraw(rule="all"), ANSWERS)
    assert sorted(pairs) == [("b", "a"), ("c", "a"), ("c", "b"), ("d", "a"), ("d", "b"), ("d", "c")]


def test_one_random_pair() -> None:
    """Protects the rule: one of all pairs, by the given random state, each of them at some seed."""
    draw = PairDraw(rule="random")
    draws = [texts(draw, ANSWERS, seed=seed) for seed in range(60)]
    assert all(len(pairs) == 1 for pairs in draws)
    assert texts(draw, ANSWERS, seed=3) == draws[3]
    assert {pairs[0] for pairs in draws} == set(texts(PairDraw(rule="all"), ANSWERS))


@pytest.mark.parametrize("rule", ["best-worst", "random", "all"])
def test_ties_and_equal_texts_make_no_pair(rule: PairRule) -> None:
    """Protects from labels of nothing: equal scores, and the same text scored twice (an endpoint may differ), are no
    preference. Where the best and the worst are one text, the widest gap between two texts is taken."""
    assert texts(PairDraw(rule=rule), [("a", 1.0), ("b", 1.0)]) == []
    assert texts(PairDraw(rule=rule), [("a", 1.0), ("a", 2.0)]) == []
    pairs = texts(PairDraw(rule=rule), [("a", 1.0), ("a", 5.0), ("b", 2.0)])
    assert pairs and set(pairs) <= {("a", "b"), ("b", "a")}
    if rule == "best-worst":
        assert pairs == [("a", "b")]  # a gap of 3, not of 1


def test_right_is_a_threshold() -> None:
    """Protects labels by tests: at `right` 10 two wrong answers of different score are a tie, two right ones too."""
    draw = PairDraw(rule="all", right=10.0)
    assert texts(draw, [("a", 10.0), ("b", 12.0), ("c", 3.0), ("d", 0.0)]) == [
        ("a", "c"),
        ("a", "d"),
        ("b", "c"),
        ("b", "d"),
    ]
    assert texts(draw, [("a", 10.0), ("b", 11.0)]) == []
    assert texts(draw, [("a", 1.0), ("b", 2.0)]) == []


@pytest.mark.parametrize("rule", ["best-worst", "random", "all"])
def test_a_demonstration_where_none_is_right(rule: PairRule) -> None:
    """Protects the paper's rule for APPS: only where no sample is right, over a wrong sample that says something else."""
    draw = PairDraw(rule=rule, right=10.0)
    pairs = texts(draw, [("a", 0.0), ("b", 3.0)], fill="good")
    assert pairs and {chosen for chosen, _ in pairs} == {"good"} and {rejected for _, rejected in pairs} <= {"a", "b"}
    assert {chosen for chosen, _ in texts(draw, [("a", 10.0), ("b", 3.0)], fill="good")} == {"a"}
    assert texts(draw, [("a", 10.0), ("b", 10.0)], fill="good") == []
    assert texts(draw, [("good", 0.0)], fill="good") == []
    assert texts(PairDraw(rule=rule), [("a", 1.0), ("b", 1.0)], fill="good") == []  # without `right` nothing is wrong


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3).map(float)), max_size=6),
    st.sampled_from(["best-worst", "random", "all"]),
)
def test_a_pair_is_always_in_order(answers: list[tuple[str, float]], rule: PairRule) -> None:
    """Protects from a label turned round: the chosen had a higher score than the rejected, and another text."""
    every = set(texts(PairDraw(rule="all"), answers))
    pairs = texts(PairDraw(rule=rule), answers)
    assert set(pairs) <= every and bool(pairs) == bool(every)
    for chosen, rejected in pairs:
        assert chosen != rejected
        assert max(s for t, s in answers if t == chosen) > min(s for t, s in answers if t == rejected)


def test_drawn_from_the_policy(tmp_path: Path) -> None:
    """Protects the stage: `samples` answers a prompt, each scored once against its own prompt; the same run draws the same
    pairs, another name others; what is longer is preferred, as the reward says."""
    policy = untrained()
    toy = Toy()
    prompt_ids: list[list[str]] = []

    class Spy(Scored):
        def score(self, prompts: Any, completions: Any) -> list[float]:
            prompt_ids.append([prompt.id for prompt in prompts])
            return super().score(prompts, completions)

    draw = PairDraw(samples=3, rule="best-worst", decoding=SHORT)
    prompts = toy.prompts("train")[:4]
    with opened(tmp_path, policy, reward=Spy(lambda text: float(len(text)))) as parts:
        first, again, other = (draw_pairs(draw, parts, prompts, name=name) for name in ("a", "a", "b"))
    assert prompt_ids[0] == [prompt.id for prompt in prompts for _ in range(3)]
    assert first and first == again != other
    assert all(len(pair.chosen.text) > len(pair.rejected.text) for pair in first)
    assert [pair.prompt.id for pair in first] == sorted({p.prompt.id for p in first}, key=[p.id for p in prompts].index)


def test_fill_is_read_only_where_it_can_matter(tmp_path: Path) -> None:
    """Protects testbeds without demonstrations, and the paper's rule end to end: at `right` a prompt whose samples are all
    wrong gets its own demonstration, where the same reward finds it right (here the first four colours)."""
    policy = untrained()
    toy = Toy()
    draw = PairDraw(samples=2, rule="all", right=1.0, decoding=SHORT)
    with opened(tmp_path, policy, reward=Scored(lambda text: float(text in COLOURS[:4]))) as parts:
        pairs = draw_pairs(draw, parts, toy.prompts("train"), name="a")
        assert {p.prompt.id for p in pairs} == {f"say-{colour}" for colour in COLOURS[:4]}
        assert all(p.prompt.id == f"say-{p.chosen.text}" for p in pairs)
        assert draw_pairs(draw.model_copy(update={"fill": False}), parts, toy.prompts("train"), name="a") == []
    toy.demonstrations = lambda split: pytest.fail("nobody asked")
    with opened(tmp_path, policy, testbed=toy, reward=Scored(lambda text: float(len(text)))) as parts:
        assert draw_pairs(PairDraw(samples=2, decoding=SHORT), parts, toy.prompts("train"), name="a")


def test_the_stage(tmp_path: Path) -> None:
    """Protects `prompts` from being an option that nobody reads; and says so where there is nothing to learn from."""
    policy = untrained()
    with opened(tmp_path, policy, reward=Scored(lambda text: float(len(text)))) as parts:
        pairs = Pairs(prompts=2, draw=PairDraw(samples=4, rule="all", decoding=SHORT)).train(parts)
        assert len({pair.prompt.id for pair in pairs}) == 2
    with opened(tmp_path, policy, reward=Scored(lambda text: 1.0)) as parts, pytest.raises(UserError, match="no pairs"):
        Pairs(draw=PairDraw(samples=2, decoding=SHORT)).train(parts)
    with opened(tmp_path, policy) as parts, pytest.raises(UserError, match="--reward"):
        Pairs().train(parts)


def test_prompts_that_the_testbed_lacks(tmp_path: Path) -> None:
    """If the testbed has no prompts of the levels, or no prompts at all, the message names the testbed and its
    levels."""
    toy, levelled = Toy(), Toy()
    toy.prompts = lambda split: []
    levelled.prompts = lambda split: [replace(prompt, level="easy") for prompt in Toy().prompts(split)]
    for testbed, complaint in [
        (Toy(), "The testbed toy has no training prompts of the levels hard. Its prompts have no levels. Leave out"),
        (levelled, "The testbed toy has no training prompts of the levels hard. Its levels: easy."),
        (
            toy,
            "The testbed toy has no prompts in its train split, but .* Choose another method, or other data.",
        ),
    ]:
        run = opened(tmp_path, untrained(), testbed=testbed, reward=Scored(len))
        with run as parts, pytest.raises(UserError, match=complaint):
            Pairs(levels=("hard",)).train(parts)


def test_demonstrations_are_no_samples_of_the_policy(tmp_path: Path) -> None:
    """Protects what the report says of a policy: a data set's answer is scored, and not shown or counted as its own."""
    reward, prompt = Scored(lambda text: 10.0), Toy().prompts("train")[:1]
    with opened(tmp_path, untrained(), reward=reward) as parts:
        for _ in parts.run.steps(1, {}, policy=parts.policy, validate=None):
            score_answers(parts, prompt, [Completion("demonstrated")], key="fills", own=False)
            score_answers(parts, prompt, [Completion("written")], key="draws", own=True)
    [sample] = map(json.loads, (tmp_path / "samples.jsonl").read_text().splitlines())
    assert sample["text"] == "written"
