"""The testbed `math`, its reward and its evaluator, on the shapes of GSM8K and MATH and on own data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import UserError
from preflab.evaluation.base import GradedPrompt, Summary
from preflab.evaluation.final_answer import FinalAnswers
from preflab.evaluation.settings import Evaluation
from preflab.rewards import REWARDS
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.testbeds.base import TestbedSpec
from preflab.types import Completion, Problem

WORKED = "She has 3*{n}=<<3*{n}={m}>>{m} eggs.\n#### {m}"


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def gsm8k(numbers: range) -> list[dict[str, Any]]:
    return [{"question": f"What is 3 times {n}?", "answer": WORKED.format(n=n, m=3 * n)} for n in numbers]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """GSM8K as a folder with a train and a test file."""
    write_lines(tmp_path / "gsm8k" / "train.jsonl", gsm8k(range(40)))
    write_lines(tmp_path / "gsm8k" / "test.jsonl", gsm8k(range(100, 106)))
    return tmp_path / "gsm8k"


def open_math(**settings: Any) -> Any:
    spec = TESTBEDS.parse({"kind": "math", **settings})
    assert isinstance(spec, TestbedSpec)
    return spec.open(Context())


def test_gsm8k(folder: Path) -> None:
    """The test file is the test split; the right answer is a hidden test; demonstrations hold no marks for a calculator;
    what a policy sees of validation and test holds no answer."""
    with open_math(data=str(folder), instruction="End with ####.") as testbed:
        assert len(testbed.prompts("test")) == 6
        problem = testbed.prompts("train")[0]
        assert isinstance(problem, Problem) and problem.turns[0].content.endswith("?\n\nEnd with ####.")
        (test,) = problem.hidden_tests
        right = f"#### {test.output}"
        outcomes = [
            verdict.outcome
            for verdict in testbed.judge([(text, problem.hidden_tests) for text in (right, "#### -1", "none")])
        ]
        assert outcomes == ["passed", "failed", "no-answer"]
        with pytest.raises(UserError, match="have no public tests"):
            testbed.judge([("#### 3", problem.public_tests)])
        assert "<<" not in testbed.demonstrations("train")[0].completion.text
        for split in ("validation", "test"):
            assert all(not held.hidden_tests for held in testbed.prompts(split))
            assert testbed.hidden_tests(split)


def test_math_folder(tmp_path: Path) -> None:
    """MATH as its authors give it: a folder for each split and subject, a file for each problem, levels, boxes. What has
    no final answer is left out and counted."""
    for split, numbers in (("train", range(30)), ("test", range(50, 55))):
        for n in numbers:
            solution = f"We get $\\boxed{{1}}$, or rather $\\boxed{{\\frac{{{n}}}{{7}}}}$." if n else "It is\nclear."
            row = {
                "problem": f"Divide {n} by 7.",
                "level": f"Level {1 + n % 5}",
                "type": "Algebra",
                "solution": solution,
            }
            path = tmp_path / "MATH" / split / "algebra" / f"{n}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(row))
    with open_math(data=str(tmp_path / "MATH"), validation=0.2) as testbed:
        assert {problem.level for problem in testbed.prompts("test")} == {f"Level {n}" for n in range(1, 6)}
        assert {test.output for (test,) in testbed.hidden_tests("test").values()} == {
            f"\\frac{{{n}}}{{7}}" for n in range(50, 55)
        }
        assert any("1 problems were left out" in note for note in testbed.notes)


def test_data_without_final_answers(tmp_path: Path) -> None:
    rows = [{"question": f"q{n}", "answer": "It is\nclear."} for n in range(60)]
    with (
        pytest.raises(UserError, match="no solution of the train split marks a final answer"),
        open_math(data=str(write_lines(tmp_path / "a.jsonl", rows))),
    ):
        pass


def own_data(path: Path, answer: Callable[[int], str]) -> dict[str, Any]:
    rows = [{"prompt": f"What is {n} plus 2?", "answer": answer(n)} for n in range(60)]
    return {"kind": "jsonl", "data": str(write_lines(path, rows)), "validation": 0.2, "test": 0.2}


def test_reward(folder: Path) -> None:
    """10 for the right answer of a training problem, else 0; no other problem is scored; outcomes are counted."""
    with open_math(data=str(folder)) as testbed:
        context = Context(testbed=testbed)
        with REWARDS.parse("math").open(context) as reward:  # pyright: ignore[reportAttributeAccessIssue]
            problem = testbed.prompts("train")[0]
            right = problem.hidden_tests[0].output
            texts = [f"so #### {right}", rf"\boxed{{{right}.0}}", f"{right}", "#### 1 or 2"]
            scores = reward.score([problem] * 4, [Completion(text) for text in texts])
            assert scores == [10.0, 10.0, 0.0, 0.0]
            assert reward.outcomes == {"passed": 2, "no-answer": 1, "failed": 1}
            assert context.meter.used("labels") == 4 and not reward.deterministic
            with pytest.raises(UserError, match="scores only training problems"):
                reward.score(testbed.prompts("test")[:1], [Completion("x")])
            held = {test.output for (test,) in testbed.hidden_tests("test").values()}
            assert not held & {*reward.rights.values()}


def test_reward_and_evaluator_on_own_data(tmp_path: Path) -> None:
    """`jsonl` with a field `answer`, bare numbers: the reward and the evaluator verify them, each on its own splits."""
    data = own_data(tmp_path / "own.jsonl", lambda n: str(n + 2))
    spec: Any = TESTBEDS.parse(data)
    with spec.open(Context()) as testbed:
        context = Context(testbed=testbed)
        reward_spec: Any = REWARDS.parse({"kind": "math", "correct": 1, "unmarked": True})
        with reward_spec.open(context) as reward:
            prompt = testbed.prompts("train")[0]
            number = int(prompt.turns[0].content.split()[2])
            assert reward.score([prompt] * 2, [Completion(f"{number + 2}"), Completion("1 999")]) == [1.0, 0.0]
        evaluation = Evaluation(samples=2, k=(1, 2))
        evaluator_spec = FinalAnswers()
        names = [measure.name for measure in evaluator_spec.measures(evaluation)]
        assert names == ["pass@1", "pass@2", "answered"]
        with evaluator_spec.open(context) as evaluator:
            prompt = testbed.prompts("test")[0]
            number = int(prompt.turns[0].content.split()[2])
            answers = [Completion(f"#### {number + 2}"), Completion("no idea")]
            grades = evaluator.grade("test", [prompt] * 2, answers)
            summary = Summary(evaluator_spec.measures(evaluation), evaluation, lambda *_: 0)
            (values,) = evaluator.summarise([GradedPrompt(prompt, answers, grades)], summary)
            assert values == {"pass@1": 0.5, "pass@2": 1.0, "answered": 0.5}


@pytest.mark.parametrize("split", ["train", "test"])
def test_answers_that_cannot_be_verified(tmp_path: Path, split: str) -> None:
    """An answer without a final answer stops the run before it begins, instead of counting every solution as wrong."""
    data = own_data(tmp_path / "own.jsonl", lambda n: "It is clear\nto all.")
    spec: Any = TESTBEDS.parse(data)
    opened: Any = REWARDS.parse("math") if split == "train" else FinalAnswers()
    with spec.open(Context()) as testbed, pytest.raises(UserError, match="marks no final answer"):
        opened.open(Context(testbed=testbed)).__enter__()


def test_k_at_n_is_refused() -> None:
    with pytest.raises(UserError, match="Remove `submissions`"):
        FinalAnswers().measures(Evaluation(samples=4, k=(1,), submissions=((1, 4),)))
