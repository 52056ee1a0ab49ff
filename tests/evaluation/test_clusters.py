"""Submissions by clusters: the closed form against every choice there is, what counts as alike, which inputs are made."""

from __future__ import annotations

import random
from itertools import permutations, product

import pytest
from pydantic import ValidationError

from preflab.errors import UserError
from preflab.evaluation.base import Grade
from preflab.evaluation.clusters import (
    Cluster,
    change_value,
    check_inputs,
    compute_cluster_chance,
    find_behaviours,
    group_by_behaviour,
    make_inputs,
)
from preflab.evaluation.programs import rates
from preflab.evaluation.settings import Evaluation
from preflab.sandbox.answer import Recipe
from preflab.sandbox.judging import Judge, TestedAnswers
from preflab.sandbox.verdict import ProgramTask
from preflab.testbeds.base import Testbed
from preflab.types import Completion, Problem, Prompt, Split, Test, Turn, Verdict


def by_enumeration(clusters: list[Cluster], k: int) -> float:
    """Every order of the clusters (of equal sizes the first goes first) and every order within each."""
    hits: list[bool] = []
    for order in permutations(range(len(clusters))):
        rows = sorted(order, key=lambda row: -clusters[row].size)
        for members in product(*(permutations(range(each.size)) for each in clusters)):
            line = [
                members[row][place] < clusters[row].right
                for place in range(max(each.size for each in clusters))
                for row in rows
                if place < clusters[row].size
            ]
            hits.append(any(line[:k]))
    return sum(hits) / len(hits)


@pytest.mark.parametrize(
    "clusters",
    [
        [(3, 1)],
        [(3, 0), (1, 1)],
        [(2, 1), (2, 0), (1, 1)],
        [(1, 0), (1, 1), (1, 0), (1, 0)],
        [(3, 2), (2, 1), (2, 2), (1, 0)],
        [(2, 0), (2, 0)],
    ],
)
def test_the_chance_is_that_of_every_choice(clusters: list[tuple[int, int]]) -> None:
    """Protects the closed form: ties in the last round, clusters that run out, more submissions than programs."""
    made = [Cluster(*each) for each in clusters]
    for k in range(1, sum(size for size, _ in clusters) + 2):
        assert compute_cluster_chance(made, k) == pytest.approx(by_enumeration(made, k)), k


def test_the_largest_cluster_goes_first() -> None:
    """60 of 100 alike and right, 40 each on its own and wrong: one submission is right for certain, where a choice at random
    would be so with .6; nothing to submit is never right."""
    assert compute_cluster_chance([Cluster(60, 60), *[Cluster(1, 0)] * 40], 1) == 1.0
    assert compute_cluster_chance([Cluster(60, 0), *[Cluster(1, 1)] * 40], 1) == 0.0
    assert compute_cluster_chance([Cluster(60, 0), *[Cluster(1, 1)] * 20, *[Cluster(1, 0)] * 20], 2) == pytest.approx(
        0.5
    )
    assert compute_cluster_chance([], 3) == 0.0


def test_inputs_are_the_tests_with_small_changes() -> None:
    """Protects from inputs of another form, which all programs fail alike: lines and words stay as many, values keep their
    types; the same seed makes the same inputs; nothing is expected of them."""
    tests = [Test("3\n1 -2 30\nabc\n", "x"), Test([[1, 2], "ab", {"a": True}], 3)]
    made = make_inputs(tests, 50, seed=4)
    assert made == make_inputs(tests, 50, seed=4) != make_inputs(tests, 50, seed=5)
    assert {test.output for test in made} == {""}
    texts = [test.input for test in made if isinstance(test.input, str)]
    assert len(set(texts)) > 10
    assert all([len(line.split()) for line in text.splitlines()] == [1, 3, 1] for text in texts)
    long = change_value("1" * 5000, random.Random(0))  # more digits than Python reads as a number
    assert len(long) == 5000 and set(long) <= {"0", "1"}
    values = [test.input for test in made if isinstance(test.input, list)]
    assert all([type(part) for part in value] == [list, str, dict] and len(value[0]) == 2 for value in values)


def test_what_has_no_value_stays_as_it_is() -> None:
    drawn = random.Random(0)
    assert [change_value(value, drawn) for value in (None, [], {}, "", "+")] == [None, [], {}, "", "+"]
    assert change_value(True, drawn) is False
    assert change_value((1,), drawn) in {(-1,), (0,), (2,), (3,)}


class DoublingJudge(Judge):
    """Judges texts: `twice` and `sum` print 2n, `square` n times n, `crash` breaks; only what is printed for 2 is expected."""

    def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
        return [self.verdict(text, tests[0]) for text, tests in answers]

    @staticmethod
    def verdict(text: str, test: Test) -> Verdict:
        n = int(test.input)
        if text == "crash":
            return Verdict("runtime-error", (False,), {"got": f"line {n}"})
        got = str(n * n if text == "square" else 2 * n)
        return Verdict("passed" if got == test.output else "failed", (got == test.output,), {"got": got})


class Doubling(Testbed):
    """Nothing but the judge is asked."""

    name = "doubling"
    judge = DoublingJudge()

    def prompts(self, split: Split) -> list[Prompt]:
        raise AssertionError


def test_alike_is_what_prints_the_same_on_made_inputs() -> None:
    """Protects what a cluster is: on the public test (2 gives 4) three of the programs agree; on others squaring parts from
    doubling. What a program writes when it breaks parts nobody."""
    bed, programs = Doubling(), ["twice", "square", "sum", "crash", "crash"]
    behaved = find_behaviours(bed, programs, [Test("2", "4")], 8, seed=0)
    assert behaved[0] == behaved[2] != behaved[1] and behaved[3] == behaved[4] == ("runtime-error",) * 8
    alike = group_by_behaviour(behaved, [True, False, True, False, False])
    assert sorted(alike) == [(1, 0), (2, 0), (2, 2)]


def test_k_at_n_by_clusters() -> None:
    """Protects the measure's way: of six samples five pass the public test; doubling (three, right) is the largest cluster, so
    that one submission is right; at random it would be with 3/5."""
    spec = Evaluation(samples=6, k=(1,), submissions=((1, 6),), clusters=8)
    texts = ["twice", "square", "sum", "square", "twice", "crash"]
    prompt = Problem("p", (Turn("user", "?"),), "", (Test("2", "4"),), (Test("3", "6"),))
    group = prompt, [Completion(text) for text in texts], [Grade(float(text in ("twice", "sum"))) for text in texts]
    values = rates(spec, Doubling(), [group], lambda *names: 7)
    assert values == [{"pass@1": 0.5, "1@6": pytest.approx(0.6), "1@6, clustered": 1.0}]


def test_tests_that_are_code_have_no_input_to_change() -> None:
    with pytest.raises(UserError, match="these tests are code"):
        check_inputs([Test("assert f(1) == 2", None, Recipe(ProgramTask("check")))])


def test_settings_that_cannot_be_measured_are_refused() -> None:
    with pytest.raises(ValidationError, match="needs n = samples"):
        Evaluation(samples=8, submissions=((1, 4),), clusters=5)
    with pytest.raises(ValidationError, match="needs `submissions`"):
        Evaluation(clusters=5)
