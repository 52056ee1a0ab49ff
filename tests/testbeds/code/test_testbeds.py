"""Each data set's official records, through loading, splitting and judging; their own programs pass, wrong ones do not."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import require_feature

from preflab.errors import UserError
from preflab.rewards.tests import Tests
from preflab.sandbox.bubblewrap import explain_absence
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.testbeds.base import SPLITS
from preflab.testbeds.code.several import MANY, explain_several
from preflab.testbeds.code.testbed import Code
from preflab.types import Completion, Problem, Test

from .records import APPS, APPS_STDIN, CONTEST, HUMANEVAL, LEETCODE, LOOPED, MBPP, SUM

SORTING = "def check(candidate):\n    assert sorted(candidate(node=None, k=1)) == []\n"
Opened = Callable[..., Any]


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., Code]:
    """`spec(kind, *records, **settings)`: the testbed of a file that holds the records."""

    def make(kind: str, *records: Mapping[str, Any], name: str = "data.jsonl", **settings: Any) -> Code:
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return TESTBEDS.parse({"kind": kind, "data": str(path), **settings})

    return make


RECORDS = [
    ("humaneval", HUMANEVAL),
    ("humaneval", LOOPED),
    ("mbpp", MBPP),
    ("leetcode", LEETCODE),
    ("apps", APPS),
    ("apps", APPS_STDIN),
    ("code_contests", CONTEST),
]


@pytest.mark.parametrize(("kind", "record"), RECORDS)
def test_the_datas_own_programs_pass(kind: str, record: Mapping[str, Any], spec: Callable[..., Code]) -> None:
    """Protects every form of record: its right programs pass, as they are and in a chat model's fence; nothing else does."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    testbed_spec = spec(kind, record)
    [exercise] = list(testbed_spec.read_exercises())
    split, tests = exercise.split, (*exercise.public, *exercise.hidden)
    assert split is not None and len(tests) >= 1 and exercise.right and not exercise.unjudged
    with testbed_spec.open(Context()) as testbed:
        [prompt] = testbed.prompts(split)
        assert prompt.id == exercise.name and exercise.statement == prompt.turns[-1].content
        programs = [*exercise.right, *(f"Sure!\n```python\n{text}\n```" for text in exercise.right)]
        assert [verdict.outcome for verdict in testbed.judge([(text, tests) for text in programs])] == ["passed"] * len(
            programs
        )
        others = [*exercise.wrong, "", "I cannot.", "```python\nprint(0)\n```"]
        assert not any(verdict.correct for verdict in testbed.judge([(text, tests) for text in others]))


def test_contests_keep_tests_programs_and_limits(spec: Callable[..., Code]) -> None:
    """Protects what a pair is made of: Python 3 alone, right over wrong; public tests apart; the stated limits, scaled."""
    testbed_spec = spec("code_contests", CONTEST, name="train.jsonl", slack=2.0)
    [exercise] = testbed_spec.read_exercises()
    assert [test.input for test in exercise.public] == ["1 2\n"]
    assert [test.input for test in exercise.hidden] == ["2 2\n", "5 5\n"]
    assert len(exercise.right) == 2 and len(exercise.wrong) == 1
    assert exercise.recipe.task.limits.cpu_s >= 3.0  # 1.5 s, doubled; more on a slower machine
    assert exercise.recipe.task.limits.memory_mb == 1024  # at least the testbed's own
    split = exercise.split
    assert split is not None
    with testbed_spec.open(Context()) as testbed:
        [pair] = testbed.preferences(split)
        assert pair.chosen.text == SUM and "3" in pair.rejected.text
        assert len(testbed.demonstrations(split)) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("If there are multiple answers, print any of them.", "several answers"),
        ("Output any valid order.", "several answers"),
        ("If there are several such sequences, any of them is acceptable.", "several answers"),
        ("Print the elements of the set in any order.", "several answers"),
        ("Print the minimum number of operations. In the next k lines print them.", "several answers"),
        ("You may return the answer in any order.", "several answers"),
        ("Any valid answer will be accepted.", "several answers"),
        ("If there are several of them, print one of them.", "several answers"),
        ("If there are more, you may pick whichever you like.", "several answers"),
        ("If there are several ways, choose any.", "several answers"),
        ("This problem is interactive: flush the output.", "interactive"),
        ("This is an interactive problem.", "interactive"),
    ],
)
def test_what_cannot_be_judged_is_marked(text: str, reason: str, spec: Callable[..., Code]) -> None:
    """Protects from misjudging: such a problem is left out and counted, unless it is asked for; an interactive one always."""
    records = [
        {**CONTEST, "name": name, "description": CONTEST["description"] + more}
        for name, more in (("a", ""), ("b", text))
    ]
    testbed_spec = spec("code_contests", *records)
    with testbed_spec.open(Context()) as testbed:
        ids = [prompt.id for split in ("train", "validation", "test") for prompt in testbed.prompts(split)]
        assert ids == ["a"] and any("1 problem left out" in note and reason in note for note in testbed.notes)
    with spec("code_contests", *records, several="keep").open(Context()) as testbed:
        kept = reason != "interactive"
        assert sum(len(testbed.prompts(split)) for split in ("train", "validation", "test")) == 1 + kept
        assert any("1 problem kept, although several answers are right" in note for note in testbed.notes) == kept


def test_programs_that_read_a_file_are_marked(spec: Callable[..., Code]) -> None:
    """Protects right programs: the file is not there, and they would fail."""
    [exercise] = spec("code_contests", {**CONTEST, "input_file": "input.txt", "output_file": ""}).read_exercises()
    assert "a named file" in exercise.unjudged


def test_apps_header_stands_before_scripts_too(spec: Callable[..., Code]) -> None:
    """Protects APPS' own programs, which lean on the names that the official judge imports."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    tests = json.dumps({"inputs": ["16\n"], "outputs": ["4\n"]})
    with spec("apps", {**APPS_STDIN, "input_output": tests}).open(Context()) as testbed:
        [problem] = [row for split in ("train", "validation", "test") for row in testbed.prompts(split)]
        [verdict] = testbed.judge([("print(int(sqrt(int(input()))))", problem.hidden_tests)])
    assert verdict.correct


def test_the_first_problems_stand_for_all(spec: Callable[..., Code]) -> None:
    """Protects what is measured on the first N problems: data sets come level by level, and so would these."""
    records = [{**APPS, "problem_id": n, "difficulty": "hard" if n < 150 else "easy"} for n in range(300)]
    with spec("apps", *records, name="test.jsonl").open(Context()) as testbed:
        levels = [prompt.level for prompt in testbed.prompts("test")]
    assert levels.count("hard") == 150 and 20 < levels[:60].count("hard") < 40


def test_apps_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the default of APPS: its repository is a script, so that its files are read, each a split of its own."""
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({**APPS_STDIN, "question": split}) + "\n")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda name, file, repo_type: str(tmp_path / file))
    monkeypatch.setattr("preflab.testbeds.code.testbed.check_on_hub", lambda name: None)
    exercises = list(TESTBEDS.parse({"kind": "apps"}).read_exercises())
    assert [(each.name, each.split) for each in exercises] == [("train/1", "train"), ("test/1", "test")]


def test_functions_of_several_answers_are_marked_too(spec: Callable[..., Code]) -> None:
    """Protects APPS' functions and LeetCode, whose assertions compare with one answer, but for those that sort it first."""
    text = "Return the pairs in any order."
    [called] = spec("apps", {**APPS, "question": text}).read_exercises()
    plain, sorting = spec(
        "leetcode", {**LEETCODE, "query": text}, {**LEETCODE, "query": text, "test": SORTING, "task_id": "b"}
    ).read_exercises()
    assert (called.unjudged, plain.unjudged, sorting.unjudged) == (MANY, MANY, "")


NUMPY_CHECK = (
    "import numpy as np\n\ndef assertion(out, exp, atol):\n    if out != exp and atol != 0:\n"
    "        assert np.allclose(out, exp, rtol=1e-07, atol=atol)\n    else:\n        assert out == exp\n\n"
    "def check(candidate):\n    for inp, exp in zip([[[1, 2]], [[]], [[0.1, 0.2]]], [3, 0, 0.3]):\n"
    "        assertion(candidate(*inp), exp, 1e-6)\n"
)


def test_tests_that_import_numpy(spec: Callable[..., Code]) -> None:
    """Protects HumanEval+, whose checker imports NumPy: every answer was an `error`."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    with spec("humaneval", {**HUMANEVAL, "test": NUMPY_CHECK}).open(Context()) as testbed:
        [hidden] = testbed.hidden_tests("test").values()
        verdicts = testbed.judge([("    return sum(xs)\n", hidden), ("    return 3\n", hidden)])
    assert [verdict.outcome for verdict in verdicts] == ["passed", "failed"]


@pytest.mark.parametrize(
    ("expected", "program"),
    [
        (True, "def f(a): return 1"),
        (1, "def f(a): return True"),
        ([[1, 0]], "def f(a): return [True, False]"),
        ([0.5], "def f(a): return fractions.Fraction(1, 2)"),
        ([3], "def f(a): return np.arange(4).max()"),  # the official judge imports `np`, too
    ],
)
def test_apps_compares_as_its_official_judge(expected: Any, program: str, spec: Callable[..., Code]) -> None:
    """Protects right functions of APPS: what `==` holds equal is right."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    cases = json.dumps({"fn_name": "f", "inputs": [[1]], "outputs": [expected]})
    [exercise] = spec("apps", {**APPS, "input_output": cases, "solutions": "[]", "starter_code": ""}).read_exercises()
    with spec("apps", APPS).open(Context()) as testbed:
        [verdict, wrong] = testbed.judge([(program, exercise.hidden), ("def f(a): return 7", exercise.hidden)])
    assert verdict.correct and not wrong.correct, verdict


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("class Solution:\n    def total(self, xs):\n        return sum(xs)\n", True),
        ("```python\nclass Solution:\n    def total(self, xs: List[int]) -> int:\n        return sum(xs)\n```", True),
        ("class Solution:\n    @staticmethod\n    def total(xs):\n        return helper(xs)\n", True),
        ("def total(xs):\n    return helper(xs)\n", True),  # what the prompt defines before it may be used
        ("    return helper(xs)\n", True),
        ("class Solution:\n    def total(self, xs):\n        return 7\n", False),
        ("x = 1\n", False),
    ],
)
def test_humaneval_answered_by_a_class(answer: str, right: bool, spec: Callable[..., Code]) -> None:
    """Protects right answers in the form that competitions ask for: the prompt's own function, without a body, was called."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    helped = HUMANEVAL["prompt"].replace("def total", "def helper(xs):\n    return sum(xs)\n\n\ndef total")
    with spec("humaneval", {**HUMANEVAL, "prompt": helped}).open(Context()) as testbed:
        [problem] = testbed.prompts("test")
        [verdict] = testbed.judge([(answer, testbed.hidden_tests("test")[problem.id])])
    assert verdict.correct is right, verdict


@pytest.mark.parametrize(
    ("text", "compare"),
    [
        ("You can print each letter in any case.", "caseless"),
        ("Print YES (case insensitive) or NO.", "caseless"),
        ("In any case the game ends. Print the winner.", "tokens"),
        ("Count words of two letters.", "tokens"),
    ],
)
def test_upper_and_lower_case(text: str, compare: str, spec: Callable[..., Code]) -> None:
    """Protects right answers in the other case, and tells them from the idiom."""
    for kind, record in (
        ("apps", {**APPS_STDIN, "question": text}),
        ("code_contests", {**CONTEST, "description": text}),
    ):
        [exercise] = spec(kind, record).read_exercises()
        assert exercise.recipe.task.compare == compare


def test_keys_that_are_integers(spec: Callable[..., Code]) -> None:
    """Protects APPS' functions of dictionaries, whose keys JSON makes text; a key that is a word keeps its neighbours text."""
    content = {"fn_name": "prime", "inputs": [[{"1": [{"-2": 3}]}]], "outputs": [{"1": 1, "a": 2}]}
    [exercise] = spec("apps", {**APPS, "input_output": json.dumps(content)}).read_exercises()
    [test] = exercise.hidden
    assert test.input == [{1: [{-2: 3}]}] and test.output == {"1": 1, "a": 2}
    [broken] = spec("apps", {**APPS, "input_output": json.dumps({**content, "inputs": ["12"]})}).read_exercises()
    assert "not a list of arguments" in broken.unjudged


def test_levels_have_names(spec: Callable[..., Code]) -> None:
    """Protects the report's rows by level: the data's numbers are letters of a contest, or words."""
    records = [{**CONTEST, "name": str(number), "difficulty": number} for number in (None, 0, 1, 6, 7, 28)]
    assert [each.level for each in spec("code_contests", *records).read_exercises()] == [
        "",
        "",
        "easy",
        "external",
        "A",
        "V",
    ]


def test_what_stands_beside_the_assertions(spec: Callable[..., Code]) -> None:
    """Protects assertions that are run one by one: the helper that they call comes along."""
    test = "def twice(x):\n    return 2 * x\n\ndef check(candidate):\n    assert candidate([2]) == twice(1)\n"
    [exercise] = spec("humaneval", {**HUMANEVAL, "test": test}).read_exercises()
    [piece] = exercise.hidden
    assert piece.input == "def twice(x):\n    return 2 * x\nassert candidate([2]) == twice(1)"


def test_too_few_tests_for_public_ones(spec: Callable[..., Code]) -> None:
    """Protects k@n from problems that stay without a public test: they are left out and counted."""
    records = [
        HUMANEVAL,
        {**HUMANEVAL, "task_id": "one", "test": "def check(candidate):\n    assert candidate([]) == 0\n"},
    ]
    with spec("humaneval", *records, public_first=1).open(Context()) as testbed:
        assert [problem.id for problem in testbed.prompts("test")] == [HUMANEVAL["task_id"]]
        assert any("1 problem left out because there are too few tests" in note for note in testbed.notes)


def test_long_statements_are_left_out_on_request(spec: Callable[..., Code]) -> None:
    """Protects small machines: a statement of one character more than `max_prompt_chars` is left out and counted; one of
    exactly as many is kept."""
    longer = {**HUMANEVAL, "task_id": "longer", "prompt": HUMANEVAL["prompt"] + "\n"}
    most = len(next(iter(spec("humaneval", HUMANEVAL).read_exercises())).statement)
    with spec("humaneval", HUMANEVAL, longer, max_prompt_chars=most).open(Context()) as testbed:
        assert [problem.id for problem in testbed.prompts("test")] == [HUMANEVAL["task_id"]]
        assert any(f"1 problem left out because the statement has more than {most} chara" in n for n in testbed.notes)


@pytest.mark.parametrize(
    "text",
    [
        "How many ways are there to choose a group?",
        "In the first example, you can't choose any x, y.",
        "If there are several such vertices, you select the one with the smallest number.",
        "Any path from x to y goes through a and b (in any order).\n\nPrint the required number of pairs.",
        "He can do them in any order. Print one number.",
        "One of the possible answers to the first test case: (0, 0).",
        "She didn't want to marry any of them anyway.",
        "Do not print any extra spaces.",
        "He didn't   find any gold.",
        "This list contains all flights of the year (in arbitrary order).",
    ],
)
def test_what_has_one_answer_is_kept(text: str) -> None:
    """Protects problems from being left out for a word: these were, and have one right answer each."""
    assert explain_several(text) == ""


def test_verdicts_are_kept_for_the_tests_that_gave_them(spec: Callable[..., Code]) -> None:
    """Protects from a verdict of other tests: fresh ones may lie where those of before lay, once they are gone."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    with spec("code_contests", CONTEST).open(Context()) as testbed:
        for number in range(12):
            wanted = ("no", "yes")[number % 2]
            [verdict] = testbed.judge([("print(input())", (Test("yes", wanted),))])
            assert verdict.correct == (wanted == "yes")


def test_hidden_tests_stay_hidden(spec: Callable[..., Code]) -> None:
    """Protects evaluation: outside training a problem shows its public tests alone; `public_first` says what it did."""
    records = [{**CONTEST, "name": f"p{number}", "public_tests": None} for number in range(40)]
    with spec("code_contests", *records, public_first=1).open(Context()) as testbed:
        held, trained = testbed.prompts("test"), testbed.prompts("train")
        assert held and trained and testbed.prompts("validation")
        for prompt in held:
            assert isinstance(prompt, Problem) and len(prompt.public_tests) == 1 and not prompt.hidden_tests
            assert [test.input for test in testbed.hidden_tests("test")[prompt.id]] == ["5 5\n"]
        assert all(isinstance(prompt, Problem) and prompt.hidden_tests for prompt in trained)
        assert any("its first 1 hidden tests became public" in note for note in testbed.notes)


def test_official_splits_are_kept(spec: Callable[..., Code]) -> None:
    """Protects comparability: MBPP's split by number, HumanEval for evaluation alone, files by their name."""
    with spec("mbpp", *({**MBPP, "task_id": number} for number in (1, 11, 511, 601))).open(Context()) as testbed:
        assert {split: sorted(p.id for p in testbed.prompts(split)) for split in ("train", "validation", "test")} == {
            "train": ["mbpp/1", "mbpp/601"],
            "validation": ["mbpp/511"],
            "test": ["mbpp/11"],
        }
    with spec("humaneval", HUMANEVAL).open(Context()) as testbed:
        assert not testbed.prompts("train") and len(testbed.prompts("test")) == 1
    assert [each.split for each in spec("apps", APPS, name="test.jsonl").read_exercises()] == ["test"]
    names = (
        "LeetCodeDataset-v0.3.1-test.jsonl.gz",
        "LeetCodeDataset-train.jsonl",
        "contest.jsonl",
        "train-or-test.jsonl",
    )
    for name, split in zip(names, ("test", "train", "train", "train"), strict=True):
        assert [each.split for each in spec("leetcode", LEETCODE, name=name).read_exercises()] == [split]


def test_apps_folders(tmp_path: Path) -> None:
    """Protects APPS as it is distributed: one folder a problem."""
    folder = tmp_path / "test" / "0001"
    folder.mkdir(parents=True)
    (folder / "question.txt").write_text("Add.")
    for name in ("input_output", "solutions"):
        (folder / f"{name}.json").write_text(APPS_STDIN[name])
    (folder / "metadata.json").write_text('{"difficulty": "interview"}')
    [exercise] = TESTBEDS.parse({"kind": "apps", "data": str(tmp_path)}).read_exercises()
    assert (exercise.name, exercise.split, exercise.level) == ("test/0001", "test", "interview")
    assert [test.input for test in exercise.hidden] == ["1 2\n", "3 4"]
    assert exercise.statement == "QUESTION:\nAdd.\n\nUse Standard Input format\n\nANSWER:\n"


def test_the_hubs_form(tmp_path: Path) -> None:
    """Protects loading from the hub, on a local directory of that form."""
    from preflab.data.hub import list_hub_splits, load_hub_records

    (tmp_path / "train.jsonl").write_text(json.dumps(APPS) + "\n")
    assert list_hub_splits(str(tmp_path)) == ["train"]
    [(where, record)] = load_hub_records(str(tmp_path), None, "train")
    assert where.endswith("/train:1") and record["problem_id"] == 4001


def test_gzipped_or_not(tmp_path: Path) -> None:
    path = tmp_path / "HumanEval.jsonl.gz"
    path.write_bytes(gzip.compress((json.dumps(HUMANEVAL) + "\n").encode()))
    for data in (path, tmp_path):
        assert len(list(TESTBEDS.parse({"kind": "humaneval", "data": str(data)}).read_exercises())) == 1


def test_shots_stand_before_every_other_statement(spec: Callable[..., Code]) -> None:
    """Protects few-shot prompts: solved training problems as turns, never the problem itself."""
    records = [{**APPS_STDIN, "problem_id": number, "question": "Add." * number} for number in range(1, 30)]
    with spec("apps", *records, shots=2).open(Context()) as testbed:
        for split in ("train", "test"):
            for prompt in testbed.prompts(split):
                roles = [turn.role for turn in prompt.turns]
                assert roles in (["user", "assistant"] * 2 + ["user"], ["user", "assistant", "user"])
                assert prompt.turns[-1].content not in [turn.content for turn in prompt.turns[:-1]]
    with (
        pytest.raises(UserError, match="`shots` needs 50 solved"),
        spec("apps", *records, shots=50).open(Context()),
    ):
        pass


def test_the_reward_uses_the_sandbox(spec: Callable[..., Code]) -> None:
    """Protects training: the reward `tests` judges in the sandbox, and its scores are journalled for an exact resume."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    records = [{**CONTEST, "name": f"p{number}"} for number in range(12)]
    with spec("code_contests", *records).open(Context()) as testbed, Tests().open(Context(testbed=testbed)) as reward:
        prompt = testbed.prompts("train")[0]
        answers = [Completion(SUM), Completion("print(3)"), Completion(SUM)]
        assert reward.score([prompt] * 3, answers) == [10.0, 0.0, 10.0]
        assert not reward.deterministic
        assert len(testbed.judge.verdicts) == 2  # the same program is judged once


@pytest.mark.parametrize(
    ("kind", "record", "words"),
    [
        ("humaneval", {**HUMANEVAL, "test": None}, "the field `test` is missing"),
        ("mbpp", {**MBPP, "task_id": "x"}, "`task_id` must be a number"),
        ("apps", {**APPS, "input_output": "{"}, "`input_output` does not contain valid JSON"),
        ("apps", {**APPS, "input_output": '{"inputs": [1], "outputs": []}'}, "1 inputs but 0 outputs"),
        ("code_contests", {"name": "x"}, "`description` must be text"),
        (
            "code_contests",
            {**CONTEST, "public_tests": {"input": ["1"], "output": []}},
            "`public_tests` must contain two lists of equal length",
        ),
        (
            "code_contests",
            {**CONTEST, "public_tests": {"input": [1], "output": [2]}},
            "input and output of",
        ),
        ("code_contests", {**CONTEST, "solutions": [1]}, "`solutions` must contain two lists"),
        (
            "code_contests",
            {**CONTEST, "solutions": {"language": [3], "solution": [None]}},
            "a solution must be text, not None",
        ),
        ("apps", {**APPS, "solutions": "[null]"}, "a solution must be text, not None"),
        (
            "apps",
            {key: value for key, value in APPS.items() if key != "question"},
            "the field `question` is missing",
        ),
        (
            "mbpp",
            {key: value for key, value in MBPP.items() if key != "test_list"},
            "the field `test_list` is missing",
        ),
        ("mbpp", {**MBPP, "code": "def f(:"}, "invalid syntax"),
    ],
)
def test_a_damaged_record_is_left_out(
    kind: str, record: Mapping[str, Any], words: str, spec: Callable[..., Code]
) -> None:
    """Protects the file from one record: it is marked, counted, named and explained, and the others are there."""
    whole = {"humaneval": HUMANEVAL, "mbpp": MBPP, "apps": APPS, "code_contests": CONTEST}[kind]
    sound = (
        {**whole, "task_id": 12, "problem_id": 12, "name": "12"} if kind != "humaneval" else {**whole, "task_id": "12"}
    )
    with spec(kind, record, sound).open(Context()) as testbed:
        ids = [prompt.id for split in SPLITS for prompt in testbed.prompts(split)]
        [note] = [note for note in testbed.notes if "left out" in note]
    assert len(ids) == 1 and ids[0].endswith("12")
    assert "1 problem left out because its record is broken: " in note and words in note, note
    [marked, _] = spec(kind, record, sound).read_exercises()
    assert f"({marked.name})" in note
    with pytest.raises(UserError, match=f"no problem is left.*{re.escape(words)}"), spec(kind, record).open(Context()):
        pass


def test_a_problem_may_be_called_like_a_function_of_python(spec: Callable[..., Code]) -> None:
    """Protects the official MBPP, one of whose problems asks for `sum`: its whole file was refused."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    code = "def sum(a, b):\n    return len([n for n in range(1, min(a, b) + 1) if a % n == b % n == 0])\n"
    tests = ["assert sum(10, 15) == 2", "assert sum(100, 150) == max(6, min(1, 2))"]
    record = {
        **MBPP,
        "task_id": 126,
        "code": code,
        "test_setup_code": "",
        "test_list": tests,
        "challenge_test_list": [],
    }
    other = {
        **record,
        "task_id": 127,
        "code": "set = lambda xs: [*xs]\nlist = set",
        "test_list": ["assert list([2]) == [2]"],
    }
    odd = {**record, "task_id": 128, "test_list": ["assert True"]}
    with spec("mbpp", record, other, odd).open(Context()) as testbed:
        assert {prompt.id for prompt in testbed.prompts("test")} == {"mbpp/126", "mbpp/127"}
        assert any("no assertion calls a function of the program (mbpp/128)" in note for note in testbed.notes)
        hidden = testbed.hidden_tests("test")
        answers = [(code, hidden["mbpp/126"]), ("def sum(a, b): return 6", hidden["mbpp/126"])]
        answers += [(other["code"], hidden["mbpp/127"]), ("import math", hidden["mbpp/126"])]
        assert [verdict.correct for verdict in testbed.judge(answers)] == [True, False, True, False]
