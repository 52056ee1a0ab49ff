"""minicode in Python: translations mean what they translate, answers run in the sandbox, words are one token each."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.conftest import require_feature

from preflab.models import tiny
from preflab.models.spec import TinyShape
from preflab.sandbox.bubblewrap import explain_absence
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.testbeds.minicode import problems
from preflab.testbeds.minicode.behaviour import PROBES, STEPS, evaluate_program, list_near_misses
from preflab.testbeds.minicode.corpus import write_right_answer
from preflab.testbeds.minicode.language import MinicodeValue
from preflab.testbeds.minicode.python import OPENING, translate_program

SMALL = {"kind": "minicode-py", "train": 30, "validation": 6, "test": 6}


def value(program: str, given: MinicodeValue) -> MinicodeValue | None:
    """What the translation of a program returns; None where it raises."""
    space: dict[str, Any] = {}
    exec(OPENING + translate_program(program), space)
    try:
        returned = space["f"](list(given))
    except (IndexError, ValueError, TypeError, ZeroDivisionError):
        return None
    return returned if isinstance(returned, int) else tuple(returned)


@pytest.mark.parametrize("step", [text for texts in STEPS.values() for text in texts])
def test_a_step_means_what_it_translates(step: str) -> None:
    """Protects every operator with every argument: the same value on every probe, and on what a fold leaves."""
    assert all(value(step, probe) == evaluate_program((step,), probe) for probe in PROBES)
    after = ("sum", step)
    assert all(
        value(" | ".join(after), probe) == evaluate_program(after, probe)
        for probe in PROBES
        if evaluate_program(after, probe) is not None
    )


def test_programs_and_their_near_misses() -> None:
    """Protects demonstrations and pairs: on the tests, targets, their other wordings and their near misses keep their values
    (where minicode has one)."""
    rng = random.Random(0)
    for task in problems.make_tasks(0, "train", 60, 0.25, 0.1):
        tests = (*task.problem.public_tests, *task.problem.hidden_tests)
        assert all(value(write_right_answer(rng, task).text, test.input) == test.output for test in tests)
        for program in list(list_near_misses(task.target))[:10]:
            for test in tests:
                wanted = evaluate_program(program, test.input)
                assert wanted is None or value(" | ".join(program), test.input) == wanted


def test_answers_run_in_the_sandbox() -> None:
    """Protects the testbed: its pairs are right and wrong by its own judge, which holds no tests; a policy's tricks fail."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    with TESTBEDS.parse(SMALL).open(Context()) as testbed:
        tests = {problem.id: (*problem.public_tests, *problem.hidden_tests) for problem in testbed.prompts("train")}
        pairs = testbed.preferences("train")
        for side, wanted in (("chosen", True), ("rejected", False)):
            verdicts = testbed.judge([(getattr(pair, side).text, tests[pair.prompt.id]) for pair in pairs])
            assert [verdict.correct for verdict in verdicts] == [wanted] * len(pairs)
        known = len(testbed.judge.verdicts)
        testbed.judge([(pair.chosen.text, tests[pair.prompt.id]) for pair in pairs])
        assert len(testbed.judge.verdicts) == known  # judged once
        tricks = {
            "return x": "failed",
            "import os ; os . _exit ( 0 )": "runtime-error",
            "return sum ( i for i in iter ( int , 1 ) )": "timeout",
            "return f ( x )": "runtime-error",
            ")": "compile-error",
        }
        verdicts = testbed.judge([(trick, tests[pairs[0].prompt.id]) for trick in tricks])
        assert [verdict.outcome for verdict in verdicts] == list(tricks.values())
        assert not any(problem.hidden_tests for problem in testbed.prompts("test"))
        assert all(testbed.hidden_tests("test").values())


def test_a_judge_without_walls_is_told() -> None:
    """Protects readers of a report: where nothing held the programs, it says so."""
    with TESTBEDS.parse(SMALL | {"backend": "bare"}).open(Context()) as testbed:
        assert any("without walls" in note for note in testbed.notes)
    with TESTBEDS.parse(SMALL).open(Context()) as testbed:
        assert testbed.notes == ()


def test_every_word_is_one_token() -> None:
    """Protects the small models: no statement and no program is spelt out in bytes."""
    with TESTBEDS.parse(SMALL).open(Context()) as testbed:
        tokenizer = tiny.make_tokenizer(TinyShape(words=testbed.words()).words)
        for pair in testbed.preferences("train"):
            for text in (pair.prompt.turns[0].content, pair.chosen.text, pair.rejected.text):
                assert len(tokenizer.encode(text).ids) == len(text.split())
