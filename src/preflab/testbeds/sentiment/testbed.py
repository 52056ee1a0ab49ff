"""Opens the testbed `sentiment`: requests for short opinions, and a known true reward for every answer. See
docs/sentiment.md.

The requests depend only on the spec. The seed in the `Context` decides the answers and the labellers' random errors.
All seeds of a study therefore use the same requests.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from preflab.fields import Share
from preflab.spec import Context
from preflab.testbeds.base import Testbed, TestbedSpec
from preflab.testbeds.noisy_order import draw_order
from preflab.testbeds.provenance import describe_provenance, make_turn_key
from preflab.testbeds.sentiment.language import SENTIMENT_WORDS
from preflab.testbeds.sentiment.requests import SentimentPart, SentimentRequest, make_sentiment_requests
from preflab.testbeds.sentiment.reward import find_best_reward, score_answer
from preflab.testbeds.sentiment.writers import write_answer
from preflab.testbeds.streams import make_stream
from preflab.testbeds.worlds import read_request
from preflab.types import Completion, Demonstration, Preference, Prompt, Ranking, Split

_SKILLS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The skills of the simulated writers of pairs and rankings. The writer's skill is drawn from these values for each
answer."""
_HeldSize = Annotated[int, Field(ge=1, le=1000)]


class Sentiment(TestbedSpec):
    """Short opinions on request, with preferences drawn from a known true reward.

    `part`: the part that supplies the requests for training and validation, "policy" or "evaluator". Both parts have
    the same test split. `noise`: the temperature of the Bradley-Terry model that draws the labels. With 0, the answer
    with the higher true reward is always preferred. `answers`: the number of answers in a ranking. The first two
    answers that are written also form a pair. `skill`: the skill of the writer of the demonstrations, from 0 to 1. See
    docs/sentiment.md.
    """

    evaluator: ClassVar[str | None] = "true-reward"
    kind: Literal["sentiment"] = "sentiment"
    seed: int = 0
    train: Annotated[int, Field(ge=1, le=4000)] = 2000
    validation: _HeldSize = 200
    test: _HeldSize = 300
    part: SentimentPart = "policy"
    noise: Annotated[float, Field(ge=0)] = 0.5
    answers: Annotated[int, Field(ge=2, le=16)] = 4
    skill: Share = 0.2

    @contextmanager
    def open(self, context: Context) -> Generator[OpenSentiment]:
        """Opens the testbed. `context.seed` is the seed for the answers and the labels."""
        yield OpenSentiment(self, context.seed)


class OpenSentiment(Testbed):
    """The opened testbed `sentiment`. Requests are made when they are first used, and are then kept in memory."""

    name = "sentiment"
    true_names = ("reward", "regret", "sentiment", "coverage", "penalties")

    def __init__(self, spec: Sentiment, seed: int) -> None:
        self._spec = spec
        self._seed = seed
        words = "exact" if spec.noise == 0 else f"drawn by Bradley and Terry's model with temperature {spec.noise:g}"
        self.notes = (
            f"sentiment: the labels of the pairs and rankings come from the true reward. The labels are {words}.",
        )

    def prompts(self, split: Split) -> list[Prompt]:
        return [request.make_prompt(name) for name, request in self._requests(split).items()]

    def demonstrations(self, split: Split) -> list[Demonstration]:
        """Returns one answer to each request, from a simulated writer. The setting `skill` is the skill of this writer.
        Raises `MissingRecords` for `test`."""
        rng = make_stream(self._seed, "sentiment demonstrations", self._spec.part, split)
        rows = self._trainable("answers to imitate", split)
        return [Demonstration(prompt, write_answer(rng, request, self._spec.skill)) for prompt, request in rows]

    def preferences(self, split: Split) -> list[Preference]:
        """Returns one pair for each request. The pair consists of the first two answers that were written for the
        request, not of the two best answers. Raises `MissingRecords` for `test`."""
        pairs: list[Preference] = []
        for prompt, answers, order in self._compared("pairs", split):
            chosen, rejected = (answers[place] for place in order if place < 2)
            pairs.append(Preference(prompt, chosen, rejected))
        return pairs

    def rankings(self, split: Split) -> list[Ranking]:
        """Returns one ranking for each request. Returns no rankings for `test`, or if the setting `answers` is 2. The
        scores are ranks, not rewards. The best answer has the highest score."""
        if split == "test" or self._spec.answers == 2:
            return []
        places = tuple(float(place) for place in reversed(range(self._spec.answers)))
        return [
            Ranking(prompt, tuple(answers[place] for place in order), places)
            for prompt, answers, order in self._compared("rankings", split)
        ]

    def true_values(
        self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]
    ) -> list[Mapping[str, float]]:
        """Returns for each answer the true reward, the parts of the reward, and the regret. The regret is the best
        attainable reward minus the reward of the answer."""
        requests = self._requests(split)
        rows: list[Mapping[str, float]] = []
        for prompt, answer in zip(prompts, completions, strict=True):
            request = read_request(requests, prompt, self.name, split)
            score = score_answer(request, answer.text)
            parts = {"sentiment": score.sentiment, "coverage": score.coverage, "penalties": score.penalties}
            regret = max(0.0, find_best_reward(request) - score.reward)
            rows.append({"reward": score.reward, "regret": regret, **parts})
        return rows

    def words(self) -> tuple[str, ...]:
        return SENTIMENT_WORDS

    def provenance(self) -> dict[str, Any]:
        keys = [make_turn_key(prompt) for split in ("train", "validation") for prompt in self.prompts(split)]
        return describe_provenance(self.name, self._spec.part, keys, seed=self._spec.seed)

    def _requests(self, split: Split) -> dict[str, SentimentRequest]:
        """Returns a mapping from prompt id to request, for all requests of a split."""
        spec = self._spec
        count = {"train": spec.train, "validation": spec.validation, "test": spec.test}[split]
        owner = split if split == "test" or spec.part == "policy" else f"{spec.part}-{split}"
        requests = make_sentiment_requests(spec.seed, spec.part, split, count)
        return {f"{owner}-{place:05d}": request for place, request in enumerate(requests)}

    def _trainable(self, records: str, split: Split) -> list[tuple[Prompt, SentimentRequest]]:
        if split == "test":
            raise self.lacks(records, split)
        return [(request.make_prompt(name), request) for name, request in self._requests(split).items()]

    def _compared(self, records: str, split: Split) -> list[tuple[Prompt, list[Completion], list[int]]]:
        rows = self._trainable(records, split)
        spec = self._spec
        compared = rank_answers(self._seed, spec.part, split, tuple(row for _, row in rows), spec.answers, spec.noise)
        return [(prompt, answers, order) for (prompt, _), (answers, order) in zip(rows, compared, strict=True)]


@lru_cache(maxsize=8)
def rank_answers(
    seed: int, part: str, split: Split, requests: tuple[SentimentRequest, ...], count: int, noise: float
) -> list[tuple[list[Completion], list[int]]]:
    """Writes `count` different answers to each request, and lets a simulated labeller rank them. Returns the answers to
    each request, and their indices in the order from the most to the least preferred answer."""
    rng = make_stream(seed, "sentiment answers", part, split)
    labeller = make_stream(seed, "sentiment labels", part, split)
    rows: list[tuple[list[Completion], list[int]]] = []
    for request in requests:
        answers: dict[str, Completion] = {}
        while len(answers) < count:
            answer = write_answer(rng, request, rng.choice(_SKILLS))
            answers.setdefault(answer.text, answer)
        rewards = [score_answer(request, text).reward for text in answers]
        rows.append((list(answers.values()), draw_order(labeller, rewards, noise)))
    return rows
