"""What a study file says of pairwise evaluators and is wrong: refused while the file is read, each in words of its own."""

from __future__ import annotations

from typing import Any

import pytest
from tests.evaluation.test_pairwise import LONGER, PLAIN, Longer, OpenLonger

from preflab.errors import UserError
from preflab.evaluation import EVALUATORS
from preflab.spec import parse_spec
from preflab.study.spec import Study

OPEN_LONGER = f"{OpenLonger.__module__}:OpenLonger"
HIDDEN_TESTS = "preflab.evaluation.hidden_tests:HiddenTests"


class Forgotten(Longer):
    def open(self, context: Any) -> Any:
        yield OpenLonger(0)


@pytest.mark.parametrize(
    ("pairing", "words"),
    [
        ({"pairs": [["a", "bb"]]}, r"`pairwise.m` names the arm 'bb'.*Did you mean 'b'"),
        ({"against": "z"}, "`pairwise.m` names the arm 'z'"),
        ({}, "`pairwise.m` needs `pairs`"),
        ({"pairs": [["a", "b"]], "against": "c"}, "but not both"),
        ({"pairs": [["a", "b"], ["b", "a"]]}, "has a pair twice"),
        ({"pairs": [["a", "a"]]}, "a pair of an arm with itself"),
        ({"against": "b", "evaluator": {"kind": "by-reward", "model": {"path": "stage:rm"}}}, "names the stage 'rm'"),
        ({"against": "b", "evaluator": "by-rewards"}, "Did you mean 'by-reward'"),
    ],
)
def test_pairings_that_cannot_be_are_refused(pairing: dict[str, Any], words: str) -> None:
    """Protects from an error after hours of training."""
    with pytest.raises(UserError, match=words):
        parse_spec(Study, {**PLAIN, "pairwise": {"m": {"evaluator": LONGER, **pairing}}}, where="x")


@pytest.mark.parametrize(
    ("pairwise", "words"),
    [
        ("m", "`pairwise` must map names to pairwise evaluators, such as `pairwise: {shorter:"),
        (None, "`pairwise` must map names to pairwise evaluators"),
        ([["a", "b"]], "`pairwise` must map names to pairwise evaluators"),
        ({"m": "by-reward"}, "`pairwise.m` must have an `evaluator`, and `pairs` or `against`"),
        ({"m": None}, "`pairwise.m` must have an `evaluator`"),
        ({"m": {"against": "b"}}, "`pairwise.m` has no `evaluator`"),
        ({"m": {"evaluator": None, "against": "b"}}, "`pairwise.m` has no `evaluator`"),
        ({"m": {"evaluator": [LONGER], "against": "b"}}, "pairwise evaluator needs a `kind`.*`module:Class`"),
        ({"m": {"evaluator": LONGER, "against": ["b"]}}, "`pairwise.m.against` must be the name of one arm"),
        (
            {"m": {"evaluator": LONGER, "pairs": ["a", "b"]}},
            r"`pairwise.m.pairs` must be a list of pairs of arms, such as \[\[",
        ),
        ({"m": {"evaluator": LONGER, "pairs": [["a", "b", "c"]]}}, "`pairwise.m.pairs` must be a list of pairs"),
        ({"m": {"evaluator": LONGER, "pairs": "ab"}}, "`pairwise.m.pairs` must be a list of pairs"),
        (
            {"m": {"evaluator": LONGER, "against": "b", "margin": 1}},
            "unknown key `pairwise.m.margin`: an evaluator's settings belong inside `evaluator:`",
        ),
        ({"m": {"evaluator": LONGER, "agianst": "b"}}, "unknown key `pairwise.m.agianst`.*Did you mean 'against'"),
        ({1: {"evaluator": LONGER, "against": "b"}}, "the key 1, which is not text"),
    ],
)
def test_shapes_that_cannot_be_are_explained(pairwise: Any, words: str) -> None:
    """Protects from the words of a library: what is right stands in the message, with an example."""
    with pytest.raises(UserError, match=words):
        parse_spec(Study, {**PLAIN, "pairwise": pairwise}, where="x")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"evaluators": {"m": LONGER}},
            ":Longer' is a pairwise evaluator: it belongs under `pairwise:` of a study file",
        ),
        ({"evaluator": LONGER["kind"]}, "is a pairwise evaluator"),
        (
            {"pairwise": {"m": {"evaluator": HIDDEN_TESTS, "against": "b"}}},
            "HiddenTests' is an evaluator: it belongs under `evaluators:`",
        ),
        (
            {"pairwise": {"m": {"evaluator": OPEN_LONGER, "against": "b"}}},
            "must be a class that derives from preflab.evaluation.pairwise.PairwiseEvaluatorSpec",
        ),
        ({"evaluator": OPEN_LONGER}, "derives from preflab.evaluation.base.EvaluatorSpec"),
        ({"testbed": HIDDEN_TESTS}, "is an evaluator: it belongs under `evaluators:`"),
        ({"sampler": HIDDEN_TESTS}, "is an evaluator"),
        ({"arms": {"a": {"method": HIDDEN_TESTS}}}, "is an evaluator"),
        (
            {"arms": {"a": {"method": "sft", "reward": "preflab.methods.sft:SFT"}}},
            "is a method: it belongs under `method:`",
        ),
        ({"arms": {"a": {"method": "preflab.rewards.tests:Tests"}}}, "is a reward: it belongs under `reward:`"),
        (
            {"arms": {"a": {"method": "preflab.testbeds.minicode:Minicode"}}},
            "is a testbed: it belongs under `testbed:`",
        ),
        ({"testbed": "preflab.sampling.native:Native"}, "is a sampler: it belongs under `sampler:`"),
        (
            {"pairwise": {"m": {"evaluator": f"{__name__}:Forgotten", "against": "b"}}},
            "has an `open` that is not a context manager. Write `@contextmanager`",
        ),
        (
            {"pairwise": {"m": {"evaluator": LONGER, "against": "b"}}, "headline": "m/win rate"},
            "which is a pairwise evaluator",
        ),
    ],
)
def test_a_part_in_the_place_of_another_is_refused(changes: dict[str, Any], words: str) -> None:
    """Protects from an AttributeError, which came after the training where nothing looked at the class before."""
    with pytest.raises(UserError, match=words):
        parse_spec(Study, {**PLAIN, **changes}, where="x")


def test_a_spec_object_in_the_place_of_another_is_refused() -> None:
    """Protects studies that are written in Python: the same as in a file."""
    with pytest.raises(UserError, match="Longer' is a pairwise evaluator"):
        EVALUATORS.parse(Longer())
