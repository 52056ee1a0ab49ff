"""Computes the true reward of an answer in `sentiment`, and the best reward that any answer to a request can get.

The labels of the preferences are drawn from the true reward. Apart from that, only the evaluation uses the true reward.
The words `and` and `but` divide an answer into clauses. A clause is well formed if it has the form `ASPECT is [not]
[DEGREE] OPINION`. The clauses of an answer get points, and its faults get penalties. The reward is the points minus the
penalties, divided by the number of items in the request. Every text has a reward.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from preflab.testbeds.sentiment.language import (
    ASPECT_KINDS,
    DEGREES,
    GENERAL,
    JOINS,
    NEGATED,
    OPINION_WORDS,
    OPINIONS,
    value_opinion,
)
from preflab.testbeds.sentiment.requests import SentimentRequest

COVERED = 1.0  # points for the first clause about an item of the request
BROKEN = 1.0  # penalty for a clause that is not well formed
UNASKED = 1.0  # penalty for a clause about an aspect that is not in the request
ASPECT_AGAIN = 1.0  # penalty for a further clause about the same aspect
OPINION_AGAIN = 0.5  # penalty for an opinion word that an earlier clause also uses
WRONG_JOIN = 1.0  # penalty for `and` between praise and blame, and for `but` between two praises or two blames
EXTRA_WORD = 0.25  # penalty for each word above the word limit (see `count_room`)


class Clause(NamedTuple):
    """A well-formed clause. `value`: the value of the clause in points. A positive value is praise, and a negative
    value is blame."""

    aspect: str
    opinion: str
    value: float


@dataclass(frozen=True, slots=True)
class SentimentScore:
    """The score of an answer. All values are divided by the number of items in the request. `sentiment`: the points for
    opinions, which are positive if an opinion follows the wish, and negative if the opinion is opposite to the wish.
    `coverage`: the fraction of the items that the answer names. `penalties`: the points that are subtracted."""

    sentiment: float
    coverage: float
    penalties: float

    @property
    def reward(self) -> float:
        return self.sentiment + COVERED * self.coverage - self.penalties


def count_room(request: SentimentRequest) -> int:
    """Returns the word limit of a request: the largest number of words that an answer can have without a penalty. The
    limit is four words for each item, plus one join (`and` or `but`) between each item and the next item."""
    return 5 * len(request.items) - 1


def read_clauses(text: str) -> tuple[list[Clause | None], list[str]]:
    """Splits a text at the joins (`and` and `but`). Returns the clauses, and the joins between them. A clause that is
    not well formed is returned as None."""
    clauses: list[list[str]] = [[]]
    joins: list[str] = []
    for word in text.split():
        if word in JOINS:
            joins.append(word)
            clauses.append([])
        else:
            clauses[-1].append(word)
    return [read_clause(words) for words in clauses], joins


def read_clause(words: list[str]) -> Clause | None:
    """Returns the clause that the words form, or None if the words are not a well-formed clause."""
    match words:
        case [aspect, "is", *middle, opinion] if aspect in ASPECT_KINDS and opinion in OPINION_WORDS:
            negated = middle[:1] == ["not"]
            degree = " ".join(middle[1:] if negated else middle)
            if degree not in DEGREES:
                return None
            return Clause(aspect, opinion, value_clause(aspect, opinion, degree, negated))
        case _:
            return None


def value_clause(aspect: str, opinion: str, degree: str, negated: bool) -> float:
    return value_opinion(aspect, opinion) * DEGREES[degree] * (NEGATED if negated else 1.0)


def score_answer(request: SentimentRequest, text: str) -> SentimentScore:
    """Scores a text as the answer to a request."""
    clauses, joins = read_clauses(text)
    wishes = dict(request.items)
    sentiment = covered = 0.0
    penalties = EXTRA_WORD * max(0, len(text.split()) - count_room(request))
    aspects: set[str] = set()
    opinions: set[str] = set()
    for clause in clauses:
        if clause is None:
            penalties += BROKEN
            continue
        if clause.aspect in aspects:
            penalties += ASPECT_AGAIN
        elif clause.aspect in wishes:
            covered += 1
            sentiment += wishes[clause.aspect] * clause.value
        else:
            penalties += UNASKED
        penalties += OPINION_AGAIN * (clause.opinion in opinions)
        aspects.add(clause.aspect)
        opinions.add(clause.opinion)
    penalties += WRONG_JOIN * sum(
        not joins_well(one, join, other) for join, (one, other) in zip(joins, pairwise(clauses), strict=True)
    )
    items = len(request.items)
    return SentimentScore(sentiment / items, covered / items, penalties / items)


def joins_well(one: Clause | None, join: str, other: Clause | None) -> bool:
    """Checks whether `join` is the right word between two clauses. `and` is right between two clauses that both praise
    or both blame. `but` is right between a clause that praises and a clause that blames. If a clause is not well
    formed, or neither praises nor blames, both joins are right."""
    if one is None or other is None or one.value * other.value == 0:
        return True
    return (one.value * other.value > 0) == (join == "and")


class _Option(NamedTuple):
    opinion: str
    words: int
    points: float


@lru_cache(maxsize=4096)
def find_best_reward(request: SentimentRequest) -> float:
    """Returns the highest true reward that any text can get as the answer to a request.

    Uses dynamic programming over the items of the request. The state after an item consists of two values. The first
    value is the set of used opinion words that can occur again in a later item. The second value is the number of words
    by which the answer so far exceeds the word limit for its items (see `count_room`). This number is negative if the
    answer is shorter than the limit: the missing words are spare words, which the clauses of later items can use. Each
    later item can use at most one spare word, because its clause has at most five words, and its limit is four words.
    Further spare words are useless, so the search does not count them.

    The search covers only answers with at most one well-formed clause for each item. All other answers get a lower or
    equal reward, because a clause gets only penalties if it is malformed, if it repeats an aspect, or if the request
    does not name its aspect. For any sequence of clauses, there are joins that cost nothing.
    """
    options = [_list_options(aspect, wish) for aspect, wish in request.items]
    states: dict[tuple[frozenset[str], int], float] = {(frozenset(), 0): 0.0}
    for place, own in enumerate(options):
        later = {option.opinion for others in options[place + 1 :] for option in others}
        least = place + 1 - len(options)  # each later item can use one spare word; further spare words are not counted
        following: dict[tuple[frozenset[str], int], float] = {}
        for (opinions, excess), points in states.items():
            left_out = (
                opinions & later,
                max(
                    least, excess - 5
                ),  # without this item, the answer has five words fewer: the item and its joining word
            )
            following[left_out] = max(points, following.get(left_out, points))
            for option in own:
                total = points + option.points - OPINION_AGAIN * (option.opinion in opinions)
                state = ((opinions | {option.opinion}) & later, max(least, excess + option.words - 4))
                following[state] = max(total, following.get(state, total))
        states = following
    return max(points - EXTRA_WORD * max(0, excess) for (_, excess), points in states.items()) / len(request.items)


@lru_cache(maxsize=256)
def _list_options(aspect: str, wish: int) -> tuple[_Option, ...]:
    """Returns the best clauses about an aspect: for each opinion word and each number of words, the clause with the
    most points. Leaves out clauses whose opinions do not add points."""
    best: dict[tuple[str, int], float] = {}
    for opinion, degree, negated in _list_clauses(aspect):
        points = COVERED + wish * value_clause(aspect, opinion, degree, negated)
        key = (opinion, 3 + bool(degree) + negated)
        best[key] = max(points, best.get(key, points))
    return tuple(_Option(opinion, words, points) for (opinion, words), points in best.items() if points > COVERED)


def _list_clauses(aspect: str) -> Iterator[tuple[str, str, bool]]:
    for opinion in (*GENERAL, *OPINIONS[ASPECT_KINDS[aspect]]):
        for degree in DEGREES:
            for negated in (False, True):
                yield opinion, degree, negated
