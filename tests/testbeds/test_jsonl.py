"""JSON lines of the user's own: TRL's formats, splits that share nothing, tests with a judge, and clear complaints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.data.row import DialogueRow
from preflab.errors import UserError
from preflab.methods import METHODS
from preflab.spec import Context, read_spec
from preflab.testbeds import TESTBEDS
from preflab.testbeds.base import SPLITS
from preflab.testbeds.jsonl import Jsonl
from preflab.types import Completion, Problem, Test, Turn

from .rows import parse_record

ASK = [{"role": "user", "content": "Two?"}]


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Two?", "chosen": "2", "rejected": "3"},
        {"prompt": ASK, "chosen": says("2"), "rejected": says("3")},
        {"prompt": ASK, "chosen": "2", "rejected": says("3"), "score": 9},
        {"prompt": "Two?", "chosen": ASK + says("2"), "rejected": ASK + says("3")},
        {"chosen": ASK + says("2"), "rejected": ASK + says("3")},
    ],
)
def test_every_form_of_a_preference_is_the_same_pair(record: dict[str, Any]) -> None:
    """TRL's explicit and implicit prompts, as text or as messages, and the mixture that UltraFeedback has."""
    row = parse_record(record, "x")
    assert row == DialogueRow(row.prompt, Completion("2"), Completion("3"))
    assert row.prompt.turns == (Turn("user", "Two?"),)
    assert row.prompt.id == parse_record({"prompt": "Two?"}, "x").prompt.id


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Two?", "completion": "2"},
        {"prompt": ASK, "completion": says("2")},
        {"messages": ASK + says("2")},
    ],
)
def test_every_form_of_a_demonstration_is_the_same(record: dict[str, Any]) -> None:
    """Language modelling, prompt-completion and conversational forms."""
    assert parse_record(record, "x") == DialogueRow(parse_record({"messages": ASK}, "x").prompt, Completion("2"))


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ({"promt": "a"}, r"f\.jsonl:1: there is neither `prompt` nor `messages` \(present: promt\)"),
        ({"prompt": 3}, r"f\.jsonl:1: `prompt` must be text, not 3"),
        ({"prompt": []}, r"`prompt` is an empty list"),
        ({"prompt": [{"role": "user"}]}, r"`prompt`\[0\] must be"),
        ({"prompt": [{"role": "narrator", "content": "a"}]}, r"`prompt`\[0\]: the role must be one of system, user"),
        ({"prompt": [{"role": "user", "content": [1]}]}, r"`prompt`\[0\]\.content must be text, not \[1\]"),
        ({"prompt": says("a")}, r"the prompt must end in a turn of the user"),
        ({"prompt": "a", "chosen": "b"}, r"the record has `chosen` but not `rejected`"),
        ({"prompt": "a", "rejected": "b"}, r"the record has `rejected` but not `chosen`"),
        ({"chosen": "a", "rejected": "b"}, r"`prompt` is missing\. Without `prompt`"),
        ({"chosen": ASK + says("a"), "rejected": says("b")}, r"the answers reply to different prompts"),
        ({"prompt": "a", "completion": ASK + says("b")}, r"`completion` must be one turn of the assistant"),
        ({"prompt": "a", "level": [3]}, r"`level` must be text"),
        ({"prompt": "a", "level": True}, r"`level` must be text"),
        ({"prompt": "a", "level": float("inf")}, r"`level` must be a finite number"),
        ({"prompt": "a", "tests": [{"in": 1}]}, r"`tests`\[0\] must be"),
        ({"prompt": "a", "tests": 4}, r"`tests`\[0\] must be"),
        ([1], r"f\.jsonl:1 is a JSON list"),
    ],
)
def test_a_wrong_record_is_named_by_file_line_and_field(tmp_path: Path, record: Any, complaint: str) -> None:
    """What, where, and what it should be."""
    with (
        pytest.raises(UserError, match=complaint),
        Jsonl(data=write(tmp_path / "f.jsonl", [record]), judge="builtins:all").open(Context()),
    ):
        pass


ROWS = [{"prompt": f"Question {i}", "chosen": f"good {i}", "rejected": "bad"} for i in range(100)]


def test_one_file_is_split_by_first_turn(tmp_path: Path) -> None:
    """Three splits that share no prompt and lose none, the same whatever the order of the rows."""
    spec = Jsonl(data=write(tmp_path / "a", ROWS), validation=0.2, test=0.3)
    again = Jsonl(data=write(tmp_path / "b", ROWS[::-1]), validation=0.2, test=0.3)
    with spec.open(Context()) as one, again.open(Context()) as other:
        sizes = [len(one.prompts(split)) for split in SPLITS]
        assert sum(sizes) == len({prompt.id for split in SPLITS for prompt in one.prompts(split)}) == 100
        assert [{p.id for p in one.prompts(split)} for split in SPLITS] == [
            {p.id for p in other.prompts(split)} for split in SPLITS
        ]
        assert one.provenance()["first_turns"] == sizes[0] + sizes[1]


def test_files_keep_what_they_hold_but_share_nothing(tmp_path: Path) -> None:
    """A prompt that stands in several files stays in the test file alone, and the report is told how many went."""
    spec = Jsonl(
        data=write(tmp_path / "train", ROWS),
        validation=write(tmp_path / "validation", ROWS[:30]),
        test=write(tmp_path / "test", ROWS[20:25]),
    )
    with spec.open(Context()) as testbed:
        assert [len(testbed.preferences(split)) for split in SPLITS] == [70, 25, 5]
        assert testbed.notes == (
            "5 records of validation dropped because a later split has the same prompts.",
            "30 records of train dropped because a later split has the same prompts.",
        )


def test_a_method_that_needs_pairs_is_told_that_there_are_none(tmp_path: Path) -> None:
    """Prompts alone are enough for PPO; DPO on them is the user's mistake."""
    path = write(tmp_path / "a", [{"prompt": f"{i}"} for i in range(50)])
    with Jsonl(data=path).open(Context()) as testbed:
        assert testbed.prompts("train")
        with pytest.raises(UserError, match=r"no pairs .* in its train split"):
            testbed.preferences("train")
        with pytest.raises(UserError, match=r"no answers to imitate .* in its validation split"):
            testbed.demonstrations("validation")


def test_tests_are_judged_by_the_users_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden tests leave validation and test prompts; a wrong answer's verdict shows the first failing test."""
    (tmp_path / "my_judge.py").write_text("def check(text, input, output):\n    return int(text) + input == output\n")
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": f"to {i}", "tests": [{"input": 1, "output": i + 1}, {"input": 2, "output": i + 2}]}
        for i in range(60)
    ]
    spec = Jsonl(data=write(tmp_path / "a", rows), judge="my_judge:check")
    with spec.open(Context()) as testbed:
        problem = testbed.prompts("train")[0]
        assert isinstance(problem, Problem) and len(problem.hidden_tests) == 2
        right = str(problem.hidden_tests[0].output - 1)
        good, bad = testbed.judge([(right, problem.hidden_tests), ("999", problem.hidden_tests)])
        assert good.correct and bad.passed == (False, False) and bad.detail["input"] == 1
        for split in ("validation", "test"):
            hidden = testbed.hidden_tests(split)
            for held in testbed.prompts(split):
                assert isinstance(held, Problem) and not held.hidden_tests and len(hidden[held.id]) == 2
        with pytest.raises(UserError, match=r"judge 'my_judge:check' failed at .*my_judge\.py:2: ValueError"):
            testbed.judge([("no number", [Test(1, 2)])])
        with pytest.raises(UserError, match="was given no tests"):
            testbed.judge([("1", ())])


def test_a_level_may_be_a_number(tmp_path: Path) -> None:
    """Levels that are numbers, such as 1, 2, 3, are read as text. The setting `levels: [2]` chooses such a level."""
    levels = [1, 2, 2.0, "2", 2.5, "hard", None]
    rows = [{"prompt": f"{n}", "level": levels[n % 7], "completion": "x"} for n in range(70)]
    with TESTBEDS.parse({"kind": "jsonl", "data": write(tmp_path / "d", rows)}).open(Context()) as testbed:
        found = {int(prompt.turns[0].content) % 7: prompt.level for prompt in testbed.prompts("train")}
    assert found == {0: "1", 1: "2", 2: "2", 3: "2", 4: "2.5", 5: "hard", 6: ""}
    assert METHODS.parse({"kind": "pairs", "levels": [2, "hard"]}).levels == ("2", "hard")


def test_contradictions_are_refused(tmp_path: Path) -> None:
    """Tests without judge, judge without tests, one id for two prompts, an empty split, shares that leave nothing."""
    tested = write(tmp_path / "t", [{"prompt": f"{i}", "tests": [{"input": 1, "output": 1}]} for i in range(50)])
    plain = write(tmp_path / "p", ROWS)
    lonely = write(tmp_path / "l", [{"prompt": "alone", "completion": "yes"}])
    nothing = write(tmp_path / "n", [])
    twice = write(tmp_path / "i", [{"id": 1, "prompt": "a"}, {"id": 1, "prompt": "b"}])
    for fields, complaint in [
        ({"data": tested}, "there are tests, but no `judge`"),
        ({"data": plain, "judge": "math:floor"}, "has nothing to run"),
        ({"data": twice}, "i:2: the prompt '1' also occurs in an earlier record, with other text"),
        (
            {"data": plain, "test": plain},
            "/p: the validation split is empty: all its .* records have prompts of a later split",
        ),
        (
            {"data": lonely},
            r"/l: the test split is empty: no record falls into it\. .* its share \(`test: 0\.1`\), or name a file",
        ),
        (
            {"data": plain, "test": plain, "validation": lonely},
            "/p: the train split is empty: all its .* records have prompts of a later split",
        ),
        ({"data": plain, "test": nothing}, "/n is empty"),
        ({"data": str(tmp_path / "absent")}, "There is no file .*absent"),
        ({"data": plain, "test": "absent.jsonl"}, "There is no file absent.jsonl"),
        ({"data": plain, "validation": 0.5, "test": "0.5"}, "leave data for training"),
        ({"data": plain, "test": 0}, "must lie between 0 and 1"),
    ]:
        with pytest.raises(UserError, match=complaint), TESTBEDS.parse({"kind": "jsonl", **fields}).open(Context()):
            pass


def test_the_spec_survives_a_file(tmp_path: Path) -> None:
    """A share stays a number and a file a name through YAML and back."""
    (tmp_path / "s.yaml").write_text("data: a.jsonl\nvalidation: 0.2\ntest: test.jsonl\n")
    spec = read_spec(Jsonl, tmp_path / "s.yaml")
    assert (spec.validation, spec.test) == (0.2, "test.jsonl")
    assert TESTBEDS.parse(TESTBEDS.dump(spec)) == spec
