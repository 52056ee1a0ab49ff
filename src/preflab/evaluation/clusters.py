"""Which programs behave alike, and what it is worth to submit one of each kind (Li et al. 2022, section 4.6 and appendix).

Programs that print the same on many inputs are one cluster; one member of each of the largest clusters is submitted. The
inputs are made from the public tests' by small changes, as CodeContests' own further tests were; an input that has become
invalid only makes programs fail alike. Hidden tests have no part in it.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from math import comb, prod
from typing import Any, NamedTuple

from preflab.errors import UserError
from preflab.sandbox.answer import Recipe
from preflab.testbeds.base import Testbed
from preflab.types import Test, Verdict

RAN = ("passed", "failed")
CHANGES = 3
"""Values that are changed in an input, at most."""
WORD = re.compile(r"-?\d+|[^\W\d_]+")
DIGITS = 18
"""A longer row of digits is no number to be moved, but a text of them."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Cluster(NamedTuple):
    """So many programs that behave alike, `right` of them right."""

    size: int
    right: int


def clustered(clusters: Sequence[Cluster], k: int) -> float:
    """The chance that one of k submissions is right.

    Round after round each cluster gives one more of its members, chosen at random, the largest cluster first, clusters of
    equal size in random order; k members in all, or every one. The expectation over both choices is exact: with m submitted
    of a cluster of s programs, r of them right, none of these is right with chance C(s - r, m) / C(s, m).
    """
    missed, rounds, left = [1.0] * len(clusters), 0, k
    while left:
        able = sorted(
            (row for row, each in enumerate(clusters) if each.size > rounds), key=lambda row: -clusters[row].size
        )
        if not able:
            break
        rounds += 1
        for _, rows in groupby(able, key=lambda row: clusters[row].size):
            tied = list(rows)
            fresh = [_missed(clusters[row], rounds) for row in tied]
            if len(tied) > left:
                rest = [row for row in range(len(clusters)) if row not in tied]
                return 1.0 - prod(missed[row] for row in rest) * _some(fresh, [missed[row] for row in tied], left)
            for row, chance in zip(tied, fresh, strict=True):
                missed[row] = chance
            left -= len(tied)
    return 1.0 - prod(missed)


def _missed(cluster: Cluster, submitted: int) -> float:
    return comb(cluster.size - cluster.right, submitted) / comb(cluster.size, submitted)


def _some(fresh: Sequence[float], old: Sequence[float], count: int) -> float:
    """The mean, over the choices of `count` places, of the product of the fresh values there and the old ones elsewhere."""
    sums = [1.0] + [0.0] * count
    for new, before in zip(fresh, old, strict=True):
        sums = [before * here + new * (sums[taken - 1] if taken else 0.0) for taken, here in enumerate(sums)]
    return sums[count] / comb(len(fresh), count)


def behaviours(
    testbed: Testbed, programs: Sequence[str], tests: Sequence[Test], count: int, seed: int
) -> list[tuple[str, ...]]:
    """What each program did on `count` inputs that were made from the tests': equal rows are one cluster.

    Raises `UserError` where the tests are code, which has no input to change.
    """
    asked = inputs(tests, count, seed)
    runs = [(program, (test,)) for program in programs for test in asked]
    seen = [shown(verdict) for verdict in testbed.judge(runs)]
    return [tuple(seen[row * count : (row + 1) * count]) for row in range(len(programs))]


def shown(verdict: Verdict) -> str:
    """What a program printed or returned, but for what judges do not look at: white space, and whether a list is a tuple; or
    how it broke."""
    if verdict.outcome not in RAN:
        return verdict.outcome
    got = str(verdict.detail.get("got", ""))
    try:
        return json.dumps(listed(json.loads(got)))
    except (ValueError, RecursionError):
        return " ".join(got.split())


def listed(value: Any) -> Any:
    """A returned value as `sandbox.wire` writes it, tuples (`{"t": [...]}`) as lists."""
    if isinstance(value, dict):
        return listed(value["t"]) if list(value) == ["t"] else {key: listed(part) for key, part in value.items()}
    return [listed(part) for part in value] if isinstance(value, list) else value


def check_inputs(tests: Sequence[Test]) -> None:
    """Raises `UserError` where tests have no inputs that can be changed."""
    if any(isinstance(test.how, Recipe) and test.how.task.mode == "check" for test in tests):
        raise UserError("`clusters` changes the inputs of public tests, and these tests are code: leave it out.")


def inputs(tests: Sequence[Test], count: int, seed: int) -> list[Test]:
    """Tests that expect nothing, whose inputs are the tests' own with one to `CHANGES` values changed."""
    drawn = random.Random(seed)
    found: list[Test] = []
    for _ in range(count):
        test = drawn.choice(tests)
        how = test.how
        if isinstance(how, Recipe):
            how = how._replace(task=how.task._replace(special=""))
        value = test.input
        for _ in range(drawn.randint(1, CHANGES)):
            value = changed(value, drawn)
        found.append(Test(value, "", how))
    return found


def changed(value: Any, drawn: random.Random) -> Any:
    """Plain data with one number moved, one bit turned, or one letter replaced or swapped, somewhere in it."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + drawn.choice((-2, -1, 1, 2))
        case str():
            words = list(WORD.finditer(value))
            if not words:
                return value
            word = drawn.choice(words)
            return value[: word.start()] + _word(word.group(), drawn) + value[word.end() :]
        case list() | tuple() if value:
            place = drawn.randrange(len(value))
            items = [changed(item, drawn) if row == place else item for row, item in enumerate(value)]
            return type(value)(items)
        case dict() if value:
            key = drawn.choice(list(value))
            return value | {key: changed(value[key], drawn)}
        case _:
            return value


def _word(word: str, drawn: random.Random) -> str:
    if word.lstrip("-").isdigit() and len(word) <= DIGITS:
        return str(changed(int(word), drawn))
    letters, here, there = list(word), drawn.randrange(len(word)), drawn.randrange(len(word))
    if drawn.random() < 0.5:
        letters[here] = drawn.choice("01" if word.isdigit() else LETTERS)
    else:
        letters[here], letters[there] = letters[there], letters[here]
    return "".join(letters)


def grouped(behaved: Sequence[tuple[str, ...]], right: Sequence[bool]) -> list[Cluster]:
    sizes = Counter(behaved)
    rights = Counter(row for row, good in zip(behaved, right, strict=True) if good)
    return [Cluster(size, rights[row]) for row, size in sizes.items()]
