"""The testbed sentiment: its requests, their splits, the true reward, the best reward, and the answers with labels."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import permutations, product
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflab.errors import MissingRecords, UserError
from preflab.evaluation.base import Summary
from preflab.evaluation.by_true_value import ByTrueValue
from preflab.evaluation.settings import Evaluation
from preflab.evaluation.true_reward import TrueReward
from preflab.spec import Context
from preflab.testbeds.minicode import Minicode
from preflab.testbeds.noisy_order import draw_order
from preflab.testbeds.provenance import estimate_shared_fraction
from preflab.testbeds.sentiment import Sentiment
from preflab.testbeds.sentiment.language import (
    ASPECT_KINDS,
    DEGREES,
    GENERAL,
    OPINIONS,
    SENTIMENT_WORDS,
    TOPICS,
    value_opinion,
)
from preflab.testbeds.sentiment.requests import SentimentRequest, assign_place, make_sentiment_requests
from preflab.testbeds.sentiment.reward import count_room, find_best_reward, score_answer
from preflab.testbeds.sentiment.testbed import OpenSentiment
from preflab.testbeds.sentiment.writers import write_answer
from preflab.types import Completion, Preference, Split

SPLITS: tuple[Split, ...] = get_args(Split)
SMALL = Sentiment(train=60, validation=20, test=20)
CHECKSUMS = {
    "train": "47ded7a77269b28629bb51cf678875da7091f0c7350063c70d8d1fd71126aaf1",
    "validation": "6f1c9d5bda53c50d8415642a388686ac478f06aa59856210ff5b75c4e2c7e0ca",
    "test": "91d0f807601fa64e90c9f8e352c0a2d29532a8e952af3848486b75b845b810f0",
}
HOTEL = SentimentRequest("hotel", (("room", 1), ("price", -1)))
REQUESTS = make_sentiment_requests(0, "policy", "test", 40)


@pytest.fixture(scope="module")
def bed() -> Iterator[OpenSentiment]:
    with Sentiment().open(Context()) as opened:
        yield opened


def opened(spec: Sentiment, seed: int = 0) -> OpenSentiment:
    with spec.open(Context(seed=seed)) as bed:
        return bed


def rewards_of(bed: OpenSentiment, split: Split, answers: Sequence[tuple[Any, Completion]]) -> list[float]:
    prompts, completions = zip(*answers, strict=True)
    return [row["reward"] for row in bed.true_values(split, prompts, completions)]


def everything(bed: OpenSentiment, split: Split) -> list[Any]:
    """All that a split contains, as plain data."""
    rows: list[Any] = [[prompt.id, prompt.level, prompt.turns[0].content] for prompt in bed.prompts(split)]
    if split != "test":
        rows += [row.completion.text for row in bed.demonstrations(split)]
        rows += [[row.chosen.text, row.rejected.text] for row in bed.preferences(split)]
        rows += [[[answer.text for answer in row.completions], row.scores] for row in bed.rankings(split)]
    return rows


def digest(rows: list[Any]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


@pytest.mark.parametrize("split", SPLITS)
def test_checksum(bed: OpenSentiment, split: Split) -> None:
    """The default requests, and the answers and labels of the run seed 0, are the same on every machine and in every
    version. A change of these digests is a new benchmark: say so in the changelog."""
    assert digest(everything(bed, split)) == CHECKSUMS[split]


def test_another_process_makes_the_same(repository: Path) -> None:
    """Protects from an order that depends on the hashes of texts, which differ from process to process."""
    code = (
        "import json, sys; from tests.testbeds.test_sentiment import SMALL, digest, everything, opened\n"
        "print(digest(everything(opened(SMALL, 3), 'train')))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=repository,
            env={**os.environ, "PYTHONHASHSEED": salt},
        ).stdout.strip()
        for salt in ("1", "2")
    }
    assert seen == {digest(everything(opened(SMALL, 3), "train"))}


@pytest.mark.parametrize(
    ("text", "sentiment", "coverage", "penalties"),
    [
        ("room is very spacious but price is very unfair", (3 + 2.625) / 2, 1, 0),
        ("room is good but price is bad", (1 + 1) / 2, 1, 0),
        ("room is good and price is bad", (1 + 1) / 2, 1, 1 / 2),
        ("room is good but price is good", (1 - 1) / 2, 1, (1 + 0.5) / 2),
        ("room is not bad but price is not slightly low", (0.5 + 0.3125) / 2, 1, 0.25 * 1 / 2),
        ("price is rather high", 1.25 * 0.75 / 2, 1 / 2, 0),
        ("room is friendly", 0, 1 / 2, 0),
        ("bed is cosy and staff is friendly", 0, 0, 2 / 2),
        ("room is clean and room is clean", 1.5 / 2, 1 / 2, (1 + 0.5) / 2),
        ("room is clean and nice", 1.5 / 2, 1 / 2, 1 / 2),
        ("", 0, 0, 1 / 2),
        ("room is clean and", 1.5 / 2, 1 / 2, 1 / 2),
        ("room room room room room room room room room room", 0, 0, (1 + 0.25) / 2),
    ],
)
def test_reward_by_hand(text: str, sentiment: float, coverage: float, penalties: float) -> None:
    """The request praises the hotel's room and blames its price, so all points are divided by 2 and the room is 9 words.

    very spacious 2 x 1.5 = 3, very unfair 1.75 x 1.5 = 2.625; not bad -1 x -.5 = .5; not slightly low 1.25 x .5 x -.5 =
    -.3125, which blames, and its answer has 10 words; a wrong join 1, a word said before .5, an aspect said before 1,
    something unasked 1, a broken clause 1, a word beyond the room .25.
    """
    score = score_answer(HOTEL, text)
    assert (score.sentiment, score.coverage, score.penalties) == (sentiment, coverage, penalties)
    assert score.reward == sentiment + coverage - penalties


def test_best_reward_by_hand() -> None:
    """Room and price: (1 + 3 + 1 + 2.625) / 2 = 3.8125. Plot and ending are of one kind: "very gripping" is 3, "very clever"
    2.25, and "very gripping" a second time 3 - .5 = 2.5, so (1 + 3 + 1 + 2.5) / 2 = 3.75. Blamed, "very boring" and again:
    the same."""
    assert find_best_reward(HOTEL) == 3.8125
    for wish in (1, -1):
        assert find_best_reward(SentimentRequest("film", (("plot", wish), ("ending", wish)))) == 3.75


@pytest.mark.parametrize(
    "items", [(("room", 1), ("lobby", 1)), (("price", -1), ("bed", 1)), (("staff", -1), ("breakfast", -1))]
)
def test_best_reward_is_that_of_enumeration(items: tuple[tuple[str, int], ...]) -> None:
    """Dynamic programming against all answers of up to two clauses about the asked items, in every order and with both
    joins. The clauses are written here, not by the testbed."""
    request = SentimentRequest("hotel", items)
    clauses = {
        aspect: [
            " ".join(filter(None, (aspect, "is", negation, degree, word)))
            for negation in ("", "not")
            for degree in DEGREES
            for word in (*GENERAL, *OPINIONS[ASPECT_KINDS[aspect]])
        ]
        for aspect, _ in items
    }
    texts = [text for texts in clauses.values() for text in texts]
    for one, other in permutations(clauses.values()):
        texts += [f"{a} {join} {b}" for a, b in product(one, other) for join in ("and", "but")]
    assert max(score_answer(request, text).reward for text in texts) == find_best_reward(request)


WORDS = st.lists(st.sampled_from(SENTIMENT_WORDS), max_size=24).map(" ".join)
CLAUSES = st.builds(
    lambda request, seed: write_answer(random.Random(seed), request, 1.0).text, st.sampled_from(REQUESTS), st.integers()
)


@given(request=st.sampled_from(REQUESTS), text=WORDS | CLAUSES | st.text(max_size=40))
def test_no_text_is_better_than_the_best(request: SentimentRequest, text: str) -> None:
    """The reward of every text is finite, at most the best attainable, and does not depend on the order of the request."""
    score = score_answer(request, text)
    assert math.isfinite(score.reward) and score.reward <= find_best_reward(request)
    assert 0 <= score.coverage <= 1 and score.penalties >= 0
    turned = SentimentRequest(request.topic, request.items[::-1])
    assert score_answer(turned, text) == score


@given(request=st.sampled_from(REQUESTS), text=WORDS | CLAUSES)
def test_opposite_wishes_give_opposite_sentiment(request: SentimentRequest, text: str) -> None:
    opposite = SentimentRequest(request.topic, tuple((aspect, -wish) for aspect, wish in request.items))
    one, other = score_answer(request, text), score_answer(opposite, text)
    assert (one.sentiment, one.coverage, one.penalties) == (-other.sentiment, other.coverage, other.penalties)


def test_best_reward_does_not_depend_on_the_order() -> None:
    for request in REQUESTS[:8]:
        turned = {find_best_reward(SentimentRequest(request.topic, items)) for items in permutations(request.items)}
        assert turned == {find_best_reward(request)}


def test_opinions_are_balanced() -> None:
    """Every kind has two words of praise and two of blame, more than the general ones say; no word belongs to two kinds."""
    words = [word for opinions in OPINIONS.values() for word in opinions]
    assert len({*words, *GENERAL, *ASPECT_KINDS, *TOPICS}) == len(words) + len(GENERAL) + len(ASPECT_KINDS) + len(
        TOPICS
    )
    for opinions in OPINIONS.values():
        assert [math.copysign(1, value) for value in opinions.values()] == [1, 1, -1, -1]
        assert min(abs(value) for value in opinions.values()) > max(map(abs, GENERAL.values()))
    assert value_opinion("staff", "cosy") == 0


def test_splits_and_parts_ask_for_different_things(bed: OpenSentiment) -> None:
    """No set of items is in two splits, or in both parts; the test split is the same for both parts."""
    parts = ("policy", "evaluator")
    places: dict[str, set[Any]] = {}
    for part in parts:
        for split in SPLITS:
            requests = make_sentiment_requests(0, part, split, {"train": 2000, "validation": 200, "test": 300}[split])
            assert len(set(requests)) == len(requests)
            assert {assign_place(request) for request in requests} == {"test" if split == "test" else f"{part} {split}"}
            places[f"{part} {split}"] = {(request.topic, frozenset(request.items)) for request in requests}
    assert places["policy test"] == places.pop("evaluator test")
    assert sum(map(len, places.values())) == len(set().union(*places.values()))
    with Sentiment(part="evaluator").open(Context()) as other:
        assert other.prompts("test") == bed.prompts("test")
        assert estimate_shared_fraction(other.provenance(), bed.provenance()) == 0
        ids = [prompt.id for each in (bed, other) for split in SPLITS[:2] for prompt in each.prompts(split)]
        assert len(set(ids)) == len(ids)


def test_sizes_and_words(bed: OpenSentiment) -> None:
    """Sizes are the spec's; every word has a token; answers have 3 to 26 words, demonstrations 13 on average."""
    assert [len(bed.prompts(split)) for split in SPLITS] == [2000, 200, 300]
    texts = [prompt.turns[0].content for split in SPLITS for prompt in bed.prompts(split)]
    answers = [row.completion.text for row in bed.demonstrations("train")]
    ranked = [answer.text for row in bed.rankings("train") for answer in row.completions]
    assert {word for text in (*texts, *answers, *ranked) for word in text.split()} <= set(bed.words())
    assert 12 < fmean(len(text.split()) for text in answers) < 14
    assert max(len(text.split()) for text in (*answers, *ranked)) <= 26


def test_demonstrations_leave_headroom(bed: OpenSentiment) -> None:
    """SFT imitates answers whose mean reward is about 1; the best attainable is about 3.9. A writer's skill raises the
    reward."""
    rows = bed.true_values(
        "validation",
        [row.prompt for row in bed.demonstrations("validation")],
        [row.completion for row in bed.demonstrations("validation")],
    )
    assert 0.8 < fmean(row["reward"] for row in rows) < 1.3
    assert 3.8 < fmean(row["reward"] + row["regret"] for row in rows) < 4
    skilled = [
        fmean(score_answer(request, write_answer(random.Random(place), request, skill).text).reward / find_best_reward(request)
              for place, request in enumerate(REQUESTS))
        for skill in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]  # fmt: skip
    assert skilled == sorted(skilled)
    assert skilled[-1] > 0.75


def test_exact_labels_are_the_true_order() -> None:
    """Without noise the chosen answer has the higher reward, and rankings descend; scores are places, not rewards."""
    bed = opened(SMALL.model_copy(update={"noise": 0.0}))
    pairs = bed.preferences("train")
    better = rewards_of(bed, "train", [(pair.prompt, pair.chosen) for pair in pairs])
    worse = rewards_of(bed, "train", [(pair.prompt, pair.rejected) for pair in pairs])
    assert all(one >= other for one, other in zip(better, worse, strict=True))
    for row in bed.rankings("train"):
        values = rewards_of(bed, "train", [(row.prompt, answer) for answer in row.completions])
        assert values == sorted(values, reverse=True)
        assert row.scores == (3.0, 2.0, 1.0, 0.0)


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_labels_are_bradley_and_terrys(noise: float) -> None:
    """Of the pairs, the share in which the better answer is chosen is the mean of sigmoid(gap / noise), within four
    standard deviations; nothing else about the reward is in a pair."""
    bed = opened(Sentiment(noise=noise))
    pairs = bed.preferences("train")
    better = rewards_of(bed, "train", [(pair.prompt, pair.chosen) for pair in pairs])
    worse = rewards_of(bed, "train", [(pair.prompt, pair.rejected) for pair in pairs])
    gaps = [one - other for one, other in zip(better, worse, strict=True) if one != other]
    chances = [1 / (1 + math.exp(-abs(gap) / noise)) for gap in gaps]
    spread = math.sqrt(sum(p * (1 - p) for p in chances))
    assert abs(sum(gap > 0 for gap in gaps) - sum(chances)) < 4 * spread
    assert all(pair == Preference(pair.prompt, pair.chosen, pair.rejected) for pair in pairs)


def test_orders_are_plackett_and_luces() -> None:
    """Rewards 0, 1, 2 with noise 1: the order (2, 1, 0) has probability e^2/(1 + e + e^2) x e/(1 + e) = .6652 x .7311 =
    .4863; the order (0, 1, 2) has 1/(1 + e + e^2) x e/(e + e^2) = .0900 x .2689 = .0242. Standard deviations .0035, .0011."""
    rng = random.Random(5)
    orders = [tuple(draw_order(rng, [0.0, 1.0, 2.0], 1.0)) for _ in range(20000)]
    assert abs(orders.count((2, 1, 0)) / 20000 - 0.4863) < 0.014
    assert abs(orders.count((0, 1, 2)) / 20000 - 0.0242) < 0.0045


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.integers(0, 99), st.floats(-3, 3))
def test_orders_depend_on_differences_alone(rewards: list[float], seed: int, shift: float) -> None:
    """An order without noise descends; with noise it is a permutation, and equal seeds give equal orders."""
    order = draw_order(random.Random(seed), rewards, 0.0)
    assert [rewards[place] for place in order] == sorted(rewards, reverse=True)
    noisy = draw_order(random.Random(seed), rewards, 1.0)
    assert sorted(noisy) == list(range(len(rewards)))
    assert noisy == draw_order(random.Random(seed), rewards, 1.0)


def test_seed_and_sizes() -> None:
    """A study's seeds share requests and differ in answers; a longer split begins with the same; another seed of the
    testbed gives other requests."""
    one, two, again = opened(SMALL, 1), opened(SMALL, 2), opened(SMALL, 1)
    assert all(one.prompts(split) == two.prompts(split) for split in SPLITS)
    assert everything(one, "train") == everything(again, "train") != everything(two, "train")
    longer = opened(SMALL.model_copy(update={"train": 90}), 1)
    assert longer.prompts("train")[:60] == one.prompts("train")
    assert longer.demonstrations("train")[:60] == one.demonstrations("train")
    assert longer.preferences("train")[:60] == one.preferences("train")
    other = opened(SMALL.model_copy(update={"seed": 1}))
    assert {prompt.turns for prompt in other.prompts("test")} != {prompt.turns for prompt in one.prompts("test")}


def test_pairs_are_the_first_answers_of_rankings() -> None:
    """With two answers there are pairs alone; pairs and rankings of one request never contradict each other."""
    bed = opened(SMALL)
    for pair, row in zip(bed.preferences("train"), bed.rankings("train"), strict=True):
        assert row.completions.index(pair.chosen) < row.completions.index(pair.rejected)
    assert opened(SMALL.model_copy(update={"answers": 2})).rankings("train") == []


def test_nothing_trains_on_the_test_split(bed: OpenSentiment) -> None:
    for read in (bed.demonstrations, bed.preferences):
        with pytest.raises(MissingRecords, match="test split"):
            read("test")
    assert bed.rankings("test") == []


def test_true_values_need_a_known_prompt(bed: OpenSentiment) -> None:
    """Protects from grading an answer by another request: a prompt of another split is refused, and so is a testbed
    without true values."""
    with pytest.raises(UserError, match="not in the test split of sentiment"):
        bed.true_values("test", bed.prompts("train")[:1], [Completion("")])
    with (
        Minicode(train=3).open(Context()) as other,
        pytest.raises(UserError, match="minicode does not know the true values"),
    ):
        other.true_values("test", [], [])


def test_evaluators_give_the_true_reward(bed: OpenSentiment) -> None:
    """The evaluator's measures are the testbed's values, the first is the score; the pairwise evaluator gives exact
    outcomes, and a tie within its margin."""
    context = Context(testbed=bed)
    prompts = bed.prompts("test")[:2]
    request = REQUESTS[0]
    good = Completion(write_answer(random.Random(1), request, 1.0).text)
    with TrueReward().open(context) as evaluator:
        grades = evaluator.grade("test", prompts[:1] * 2, [good, Completion("")])
        measures = TrueReward().measures(Evaluation())
        summary = Summary(measures, Evaluation(), lambda *_: 0)
        assert evaluator.summarise([], summary) == []
    score = score_answer(request, good.text)
    assert grades[0].score == score.reward
    assert grades[0].values["regret"] == find_best_reward(request) - score.reward
    assert grades[1].score == -1 / len(request.items)
    assert {"reward", *grades[0].values} == {measure.name for measure in measures}
    gap = grades[0].score - grades[1].score
    for margin, outcomes in ((0.0, [1.0, 0.0, 0.5]), (gap, [0.5, 0.5, 0.5])):
        with ByTrueValue(margin=margin).open(context) as duel:
            asked = [prompts[0]] * 3
            assert duel.compare("test", asked, [good, Completion(""), good], [Completion(""), good, good]) == outcomes


def test_evaluators_refuse_other_testbeds() -> None:
    """Protects from a study that finds only after training that its testbed knows no true reward."""
    with Minicode(train=3).open(Context()) as other:
        for spec in (TrueReward(), ByTrueValue(), ByTrueValue(value="helpfulness")):
            with (
                pytest.raises(UserError, match="the testbed minicode does not know it"),
                spec.open(Context(testbed=other)),
            ):
                pass
    with pytest.raises(UserError, match="Name a testbed"), TrueReward().open(Context()):
        pass


def test_room_is_that_of_full_clauses() -> None:
    """Two items: "A is very B" twice and one join, 9 words; four items: 4 x 4 + 3 = 19."""
    assert [count_room(HOTEL), count_room(SentimentRequest("hotel", HOTEL.items * 2))] == [9, 19]
