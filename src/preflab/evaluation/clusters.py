"""Groups programs by behaviour, and computes the chance that at least one of k submissions from the largest
clusters is correct.

The method is from Li et al. 2022, section 4.6 and appendix. Programs that print the same output for many inputs form a
cluster. One program of each of the largest clusters is submitted. The inputs are made by small random changes to the
inputs of the public tests, as in the additional tests of CodeContests. A change may make an input invalid. This does no
harm, because programs with the same behaviour fail in the same way. Hidden tests are not used.
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

_RAN = ("passed", "failed")
_MOST_CHANGES = 3
"""The largest number of changes made to one input."""
_WORD = re.compile(r"-?\d+|[^\W\d_]+")
_MOST_DIGITS = 18
"""A word of digits is changed as a number if it has at most this many digits. A longer word is changed as text."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Cluster(NamedTuple):
    """A cluster of `size` programs with the same behaviour. `right`: the number of correct programs in the cluster."""

    size: int
    right: int


def compute_cluster_chance(clusters: Sequence[Cluster], k: int) -> float:
    """Returns the probability that at least one of k submissions is correct.

    In each round, every cluster submits one more of its programs, chosen at random. The largest cluster comes first,
    and clusters of equal size come in random order. The rounds end after k submissions, or when every program is
    submitted. The returned probability is the exact expectation over both random choices. Suppose that a cluster has s
    programs, r of them are correct, and m of the s programs are submitted. The probability that all m are wrong is then
    C(s - r, m) / C(s, m).
    """
    missed, rounds, left = [1.0] * len(clusters), 0, k
    while left:
        able = [row for row, each in enumerate(clusters) if each.size > rounds]
        able.sort(key=lambda row: -clusters[row].size)
        if not able:
            break
        rounds += 1
        for _, rows in groupby(able, key=lambda row: clusters[row].size):
            tied = list(rows)
            fresh = [_miss_chance(clusters[row], rounds) for row in tied]
            if len(tied) > left:
                rest = [row for row in range(len(clusters)) if row not in tied]
                return 1.0 - prod(missed[row] for row in rest) * _mean_product(
                    fresh, [missed[row] for row in tied], left
                )
            for row, chance in zip(tied, fresh, strict=True):
                missed[row] = chance
            left -= len(tied)
    return 1.0 - prod(missed)


def _miss_chance(cluster: Cluster, submitted: int) -> float:
    return comb(cluster.size - cluster.right, submitted) / comb(cluster.size, submitted)


def _mean_product(fresh: Sequence[float], old: Sequence[float], count: int) -> float:
    """Computes one product for each possible choice of `count` positions, and returns the mean of the products. The
    factors of a product are the `fresh` values at the chosen positions and the `old` values at all other positions."""
    sums = [1.0] + [0.0] * count
    for new, before in zip(fresh, old, strict=True):
        sums = [before * here + new * (sums[taken - 1] if taken else 0.0) for taken, here in enumerate(sums)]
    return sums[count] / comb(len(fresh), count)


def find_behaviours(
    testbed: Testbed, programs: Sequence[str], tests: Sequence[Test], count: int, seed: int
) -> list[tuple[str, ...]]:
    """Runs each program on `count` inputs that are made from the inputs of `tests`. Returns one row for each program:
    its output, or the kind of failure, on each input. Programs with equal rows form a cluster.

    `tests` must have inputs that can be changed (see `check_inputs`).
    """
    made = make_inputs(tests, count, seed)
    runs = [(program, (test,)) for program in programs for test in made]
    results = [_describe_behaviour(verdict) for verdict in testbed.judge(runs)]
    return [tuple(results[row * count : (row + 1) * count]) for row in range(len(programs))]


def _describe_behaviour(verdict: Verdict) -> str:
    """Returns the output of a program or, if the program failed to run, the kind of failure. Judges ignore white space,
    and do not distinguish lists from tuples. Outputs that differ only in these two ways therefore become equal."""
    if verdict.outcome not in _RAN:
        return verdict.outcome
    got = str(verdict.detail.get("got", ""))
    try:
        return json.dumps(_to_lists(json.loads(got)))
    except (ValueError, RecursionError):
        return " ".join(got.split())


def _to_lists(value: Any) -> Any:
    """Replaces tuples by lists in a program's return value. `sandbox.wire` writes a tuple as `{"t": [...]}`."""
    if isinstance(value, dict):
        return _to_lists(value["t"]) if list(value) == ["t"] else {key: _to_lists(part) for key, part in value.items()}
    return [_to_lists(part) for part in value] if isinstance(value, list) else value


def check_inputs(tests: Sequence[Test]) -> None:
    """Raises `UserError` if a test is code, because such a test has no input that can be changed."""
    if any(isinstance(test.how, Recipe) and test.how.task.mode == "check" for test in tests):
        raise UserError(
            "`clusters` changes the inputs of public tests, but these tests are code without inputs. Remove `clusters`."
        )


def make_inputs(tests: Sequence[Test], count: int, seed: int) -> list[Test]:
    """Makes `count` tests without an expected output. To make a test, takes the input of a random test of `tests`, and
    makes 1 to `_MOST_CHANGES` random changes in this input."""
    rng = random.Random(seed)
    made: list[Test] = []
    for _ in range(count):
        test = rng.choice(tests)
        how = test.how
        if isinstance(how, Recipe):
            how = how._replace(task=how.task._replace(special=""))
        value = test.input
        for _ in range(rng.randint(1, _MOST_CHANGES)):
            value = change_value(value, rng)
        made.append(Test(value, "", how))
    return made


def change_value(value: Any, rng: random.Random) -> Any:
    """Makes one random change in plain data. Adds -2, -1, 1 or 2 to a number, or negates a Boolean, or replaces one
    letter of a word, or swaps two letters of a word."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + rng.choice((-2, -1, 1, 2))
        case str():
            words = list(_WORD.finditer(value))
            if not words:
                return value
            word = rng.choice(words)
            return value[: word.start()] + _change_word(word.group(), rng) + value[word.end() :]
        case list() | tuple() if value:
            place = rng.randrange(len(value))
            items = [change_value(item, rng) if row == place else item for row, item in enumerate(value)]
            return type(value)(items)
        case dict() if value:
            key = rng.choice(list(value))
            return value | {key: change_value(value[key], rng)}
        case _:
            return value


def _change_word(word: str, rng: random.Random) -> str:
    if word.lstrip("-").isdigit() and len(word) <= _MOST_DIGITS:
        return str(change_value(int(word), rng))
    letters, here, there = list(word), rng.randrange(len(word)), rng.randrange(len(word))
    if rng.random() < 0.5:
        letters[here] = rng.choice("01" if word.isdigit() else _LETTERS)
    else:
        letters[here], letters[there] = letters[there], letters[here]
    return "".join(letters)


def group_by_behaviour(behaviours: Sequence[tuple[str, ...]], right: Sequence[bool]) -> list[Cluster]:
    """Groups programs with equal behaviours into clusters. `right`: for each program, True if it is correct."""
    sizes = Counter(behaviours)
    rights = Counter(row for row, good in zip(behaviours, right, strict=True) if good)
    return [Cluster(size, rights[row]) for row, size in sizes.items()]
