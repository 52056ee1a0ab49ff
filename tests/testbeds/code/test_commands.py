"""`preflab judge` on the data sets' own records, and `preflab testbed verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import require_feature

from preflab.cli import run_command as command
from preflab.errors import UserError
from preflab.models.load import load_model
from preflab.models.spec import ModelSpec
from preflab.sandbox.bubblewrap import missing
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.types import Problem

from .records import APPS, CONTEST, HUMANEVAL, LEETCODE, MBPP, SUM


def write(path: Path, *records: Any) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def test_judge_takes_the_data_sets_records(tmp_path: Path) -> None:
    """Protects the command: records of any data set as problems, answers as a model gives them as programs."""
    require_feature("sandbox", not missing(), missing())
    problems = write(tmp_path / "problems.jsonl", APPS, CONTEST, HUMANEVAL, LEETCODE, MBPP)
    answers = {
        "4001": json.loads(APPS["solutions"])[0],
        "1_A. Sum": f"```python\n{SUM}```",
        "HumanEval/900": "    return sum(xs)\n\nDone.",
        "merge-it": f"It is easy.\n```python\n{LEETCODE['completion']}```",
        "mbpp/11": MBPP["code"],
    }
    rows = [{"program_id": name, "problem_id": name, "source": text} for name, text in answers.items()]
    programs = write(tmp_path / "programs.jsonl", *rows, {"program_id": "no", "problem_id": "mbpp/11", "source": "x"})
    out = tmp_path / "out.jsonl"
    assert command(["judge", "--problems", problems, "--programs", programs, "--out", str(out)]) == 0
    found = {row["program_id"]: row["verdict"] for row in map(json.loads, out.read_text().splitlines())}
    assert found == {**dict.fromkeys(answers, "passed"), "no": "runtime-error"}


def test_judge_marks_what_cannot_be_judged(tmp_path: Path) -> None:
    """Protects a whole file from one problem without a judge: its programs are marked with the reason; the status says so."""
    require_feature("sandbox", not missing(), missing())
    several = {**CONTEST, "name": "several", "description": "Print any of them."}
    problems = write(tmp_path / "problems.jsonl", CONTEST, several)
    rows = [{"program_id": name, "problem_id": name, "source": SUM} for name in (CONTEST["name"], "several")]
    programs, out = write(tmp_path / "programs.jsonl", *rows), tmp_path / "out.jsonl"
    assert command(["judge", "--problems", problems, "--programs", programs, "--out", str(out)]) == 1
    found = {row["program_id"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert found[CONTEST["name"]]["verdict"] == "passed" and found["several"]["verdict"] == "error"
    assert "several answers are right" in found["several"]["detail"]["got"]


def test_judge_names_records_of_no_data_set(tmp_path: Path) -> None:
    """Protects the user: file, line, and what would be taken."""
    problems = write(tmp_path / "problems.jsonl", {"question": "?"})
    with pytest.raises(UserError, match=r"problems.jsonl:1: neither a problem of the judge's own"):
        command(["judge", "--problems", problems, "--programs", problems, "--out", str(tmp_path / "out")])


def test_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects trust in a testbed: its programs are judged with and without walls; one that fails needs a reason, given by the
    statement or by the user; wrong ones are judged too; no text of the data is written."""
    require_feature("sandbox", not missing(), missing())
    bad = {**CONTEST, "name": "bad", "solutions": {"language": [3], "solution": ["print(0)"]}}
    several = {**bad, "name": "several", "description": "Print any of them."}
    breaks = {**several, "name": "breaks", "solutions": {"language": [3], "solution": ["1 / 0"]}}
    lucky = {**CONTEST, "name": "lucky", "incorrect_solutions": CONTEST["solutions"]}
    by_file = {**breaks, "name": "by file", "input_file": "input.txt"}
    data = write(tmp_path / "data.jsonl", CONTEST, bad, several, breaks, lucky, by_file)
    out = tmp_path / "found.json"
    verify = ["testbed", "verify", "code_contests", "--data", data, "--compare", "--out", str(out)]
    assert command(verify) == 1
    told = capsys.readouterr().out
    assert "bad#0: failed; NO REASON KNOWN" in told
    assert "breaks#0: runtime-error; NO REASON KNOWN" in told  # several answers explain a wrong one alone
    reasons = tmp_path / "reasons.json"
    reasons.write_text('{"bad": "its solution is wrong", "breaks": "it divides by 0"}')
    assert command([*verify, "--reasons", str(reasons)]) == 0
    found = json.loads(out.read_text())
    assert found["right programs"] == {"passed": 2, "failed": 2, "runtime-error": 2}
    assert found["wrong programs"] == {"failed": 5, "passed": 1}
    assert found["wrong programs that pass"] == ["lucky#0"]
    assert found["exceptions"]["bad#0"] == ["failed", "its solution is wrong"]
    assert "several answers" in found["exceptions"]["several#0"][1]
    assert "file of its own" in found["exceptions"]["by file#0"][1]
    assert found["compared without walls"] == 6 and found["differ without walls"] == {}
    assert "print" not in out.read_text()


def test_verify_needs_programs() -> None:
    """Protects the user: a testbed of another kind, and a name that is none."""
    with pytest.raises(UserError, match="minicode has no programs"):
        command(["testbed", "verify", "minicode"])
    with pytest.raises(UserError, match=r"humanevall.*humaneval"):
        command(["testbed", "verify", "humanevall"])


def test_your_own_problems_in_the_sandbox(tmp_path: Path) -> None:
    """Protects `judge: sandbox`: answers to the user's own problems run as programs; tests that are no text are named."""
    require_feature("sandbox", not missing(), missing())
    rows = [{"prompt": f"Add, {n}.", "tests": [{"input": "1 2", "output": "3"}]} for n in range(40)]
    spec = TESTBEDS.parse({"kind": "jsonl", "data": write(tmp_path / "mine.jsonl", *rows), "judge": "sandbox"})
    with spec.open(Context()) as testbed:
        problem = testbed.prompts("train")[0]
        assert isinstance(problem, Problem)
        verdicts = testbed.judge([(text, problem.hidden_tests) for text in (f"```python\n{SUM}```", "print(4)")])
        assert [verdict.outcome for verdict in verdicts] == ["passed", "failed"]
    rows[0]["tests"] = [{"input": 1, "output": 2}]
    spec = TESTBEDS.parse({"kind": "jsonl", "data": write(tmp_path / "mine.jsonl", *rows), "judge": "sandbox"})
    with pytest.raises(UserError, match="`input` and `output` are text"), spec.open(Context()):
        pass


def test_your_own_comparison_and_judge(tmp_path: Path) -> None:
    """Protects `compare` and `special` of your own data: blanks that `lines` counts and `tokens` does not, and any order that a
    problem's own program accepts; where nothing runs programs, such a program is refused."""
    special = (
        "import json, sys\ncase = json.load(sys.stdin)\n"
        "print('right' if sorted(case['output'].split()) == sorted(case['expected'].split()) else 'wrong')"
    )
    tests = [{"input": "", "output": "1 2"}]
    plain = {"prompt": "one and two", "tests": tests}
    data = tmp_path / "mine.jsonl"

    def passes(record: dict[str, Any], text: str, *, raw: bool = False, **settings: Any) -> bool:
        data.write_text("".join(json.dumps(record | {"prompt": f"{record['prompt']} {n}"}) + "\n" for n in range(30)))
        spec = TESTBEDS.parse({"kind": "jsonl", "data": str(data), "judge": "sandbox", **settings})
        with spec.open(Context()) as testbed:
            problem = testbed.prompts("train")[0]
            return testbed.judge([(text if raw else f"print({text!r})", problem.hidden_tests)])[0].correct

    assert not passes(plain, "1  2") and passes(plain, "1  2", compare="tokens")
    assert not passes(plain, "2 1", compare="tokens") and passes(plain | {"special": special}, "2 1")
    slow = "for _ in range(40_000_000): pass\nprint(1, 2)"
    assert not passes(plain, slow, raw=True, time_limit_s=0.2)
    with pytest.raises(UserError, match="`time_limit_s` is for programs: it needs `judge: sandbox`"):
        passes(plain, "1 2", judge="builtins:all", time_limit_s=1.0)
    with pytest.raises(UserError, match="a program in `special` needs `judge: sandbox`"):
        passes(plain | {"special": special}, "2 1", judge="builtins:all")


def test_verify_is_refused_before_anything_runs(tmp_path: Path) -> None:
    """Protects from a check of nothing, and from hours that are lost at the end."""
    (tmp_path / "list.json").write_text("[]")
    data = write(tmp_path / "data.jsonl", HUMANEVAL)
    for words, said in (
        (["--programs", "0"], "give 1 or more, or nothing is verified"),
        (["--workers", "-3"], "give 1 or more"),
        (["--reasons", str(tmp_path / "none.json")], "cannot be read"),
        (["--reasons", str(tmp_path / "list.json")], "must hold one object"),
        (["--out", str(tmp_path)], "is a folder"),
    ):
        with pytest.raises(UserError, match=said):
            command(["testbed", "verify", "humaneval", "--data", data, *words])


def test_data_that_hold_test_problems_alone_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects HumanEval, which has no validation problems: one temperature needs none, two are refused; and the evaluator
    that programs have by nature."""
    require_feature("sandbox", not missing(), missing())
    data = write(tmp_path / "data.jsonl", HUMANEVAL)
    load_model(ModelSpec(name="tiny"), seed=0).save(tmp_path / "policy")
    words = ["evaluate", str(tmp_path / "policy"), "--testbed", "humaneval", "--data", data]
    words += ["--output", str(tmp_path / "run"), "--max-new-tokens", "4", "--samples", "2", "--k", "1", "2"]
    assert command([*words, "--temperatures", ".2"]) == 0
    assert "temperature 0.2: score 0.000" in (said := capsys.readouterr().out) and "pass@2 0.000" in said
    with pytest.raises(UserError, match="humaneval has no validation problems"):
        command([*words, "--fresh"])


def test_a_method_trains_without_validation_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects small data: without validation problems training looks at none (it ended in a traceback); what cannot be
    measured is refused before anything is trained."""
    require_feature("sandbox", not missing(), missing())
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train.jsonl", CONTEST)
    words = ["train", "sft", "--testbed", "code_contests", "--data", str(tmp_path / "data"), "--max-new-tokens", "4"]
    words += ["--epochs", "1", "--samples", "2", "--k", "1", "2", "--output", str(tmp_path / "run")]
    with pytest.raises(UserError, match="code_contests has no test problems"):
        command(words)
    write(tmp_path / "data" / "test.jsonl", CONTEST | {"name": "1_B. Sum"})
    with pytest.raises(UserError, match="code_contests has no validation problems"):
        command([*words, "--fresh"])
    capsys.readouterr()
    assert command([*words, "--fresh", "--temperatures", ".2"]) == 0
    assert "pass@2" in capsys.readouterr().out and (tmp_path / "run" / "final").is_dir()
