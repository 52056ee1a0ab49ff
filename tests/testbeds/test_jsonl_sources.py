"""Testbed `jsonl` on what people have: other fields, files, splits and parts, and records of programming data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import UserError
from preflab.sandbox.limits import measure_machine_factor
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.testbeds.base import SPLITS
from preflab.testbeds.dialogues import Dialogues
from preflab.testbeds.provenance import estimate_shared_fraction, make_turn_key
from preflab.types import Problem

from .code.records import APPS_STDIN, CONTEST, HUMANEVAL, MBPP

ROWS = [{"prompt": f"Question {n}", "chosen": f"good {n}", "rejected": "bad"} for n in range(200)]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def opened(**settings: Any) -> Dialogues:
    with TESTBEDS.parse({"kind": "jsonl", **settings}).open(Context()) as testbed:
        return testbed


def test_an_evaluator_has_a_part_of_its_own(tmp_path: Path) -> None:
    """Protects held-out rewards on your own data: the parts share no first turn outside the test split, which is the same for
    both; together they are all; the share is kept, and their provenances do not overlap."""
    data = write(tmp_path / "a.jsonl", ROWS)
    whole, policy, evaluator = (opened(data=data, part=part) for part in ("all", "policy", "evaluator"))

    def keys(testbed: Dialogues, *splits: Any) -> set[str]:
        return {make_turn_key(prompt) for split in splits for prompt in testbed.prompts(split)}

    training = keys(policy, "train", "validation"), keys(evaluator, "train", "validation")
    assert not training[0] & training[1]
    assert training[0] | training[1] == keys(whole, "train", "validation")
    assert keys(policy, "test") == keys(evaluator, "test") == keys(whole, "test")
    assert 0.2 < len(training[1]) / (len(training[0]) + len(training[1])) < 0.4
    assert estimate_shared_fraction(policy.provenance(), evaluator.provenance()) == 0
    assert estimate_shared_fraction(whole.provenance(), evaluator.provenance()) > 0
    assert [testbed.provenance()["part"] for testbed in (whole, policy, evaluator)] == ["train", "policy", "evaluator"]
    most = opened(data=data, part="evaluator", evaluator_share=0.9)
    assert len(keys(most, "train", "validation")) > len(training[1]) * 2
    with pytest.raises(UserError, match="evaluator_share"):
        opened(data=data, part="evaluator", evaluator_share=1.5)


def test_fields_splits_and_rows(tmp_path: Path) -> None:
    """Protects the settings that name what is read: your fields, a folder's splits, and the first rows of each source."""
    for split, rows in (("train", ROWS), ("test", [{**row, "prompt": f"held {row['prompt']}"} for row in ROWS])):
        renamed = [{"ask": row["prompt"], "pair": [row["chosen"], row["rejected"]]} for row in rows]
        write(tmp_path / f"{split}.jsonl", renamed)
    fields = {"prompt": "ask", "chosen": "pair.0", "rejected": "pair.1"}
    settings: dict[str, Any] = {"data": str(tmp_path), "test": f"{tmp_path}#test", "fields": fields}
    testbed = opened(**settings)
    assert len(testbed.preferences("test")) == 200
    assert sum(len(testbed.preferences(split)) for split in ("train", "validation")) == 200
    assert sum(len(opened(**settings, rows=60).preferences(split)) for split in SPLITS) == 120
    assert len(opened(data=str(tmp_path), split="test", fields=fields).prompts("train")[0].turns[0].content) > 13
    with pytest.raises(UserError, match=r"preflab does not read a field 'promt'.*prompt"):
        opened(data=str(tmp_path), fields={"promt": "ask"})
    spec = TESTBEDS.parse({"kind": "jsonl", **settings})
    assert TESTBEDS.parse(TESTBEDS.dump(spec)) == spec


def test_notes_reach_the_report(tmp_path: Path) -> None:
    """Protects from silence: what is not read, and what was left out, is said by the testbed, once for all its sources."""
    odd = {"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "user", "content": "b"}]}
    data = write(tmp_path / "a.jsonl", [odd, *({**row, "helpfulness": 1} for row in ROWS)])
    held = write(tmp_path / "b.jsonl", [{**row, "prompt": f"held {n}", "helpfulness": 1} for n, row in enumerate(ROWS)])
    notes = opened(data=data, test=held).notes
    assert notes == (
        f"1 record left out because a dialogue ends in a human turn (first: {data}:1).",
        "Fields that are not read: `helpfulness`.",
    )


def test_known_bad_answers_are_never_imitated(tmp_path: Path) -> None:
    """Protects SFT: in every shape with a label, whatever its spelling, through the opened testbed."""
    for good, bad in ((True, False), ("true", "false"), (1, 0), (1, -1), ("1", "0"), ("yes", "no"), ("good", "bad")):
        records = [
            {
                "messages": [
                    {"role": "user", "content": f"q{n}"},
                    {"role": "assistant", "content": ("BAD", "GOOD")[n % 2]},
                ],
                "label": (bad, good)[n % 2],
            }
            for n in range(60)
        ]
        testbed = opened(data=write(tmp_path / "a.jsonl", records))
        assert {row.completion.text for row in testbed.demonstrations("train")} == {"GOOD"}
        assert {(row.completion.text, row.desirable) for row in testbed.rated("train")} == {
            ("GOOD", True),
            ("BAD", False),
        }


@pytest.mark.parametrize(
    "record", [HUMANEVAL, MBPP, APPS_STDIN, CONTEST], ids=["HumanEval", "MBPP", "APPS", "CodeContests"]
)
def test_records_of_programming_data_sets(record: dict[str, Any], tmp_path: Path) -> None:
    """Protects SFT on their solutions without a judge, with a note, and their tests where `judge: sandbox` runs them."""
    text = next(name for name in ("description", "question", "text", "prompt") if name in record)
    name = next(name for name in ("name", "problem_id", "task_id") if name in record)
    records = [
        {**record, text: f"{record[text]}# {n}\n", name: n if name != "name" and record[name] in (1, 11) else f"p/{n}"}
        for n in range(60)
    ]
    data = write(tmp_path / "a.jsonl", records)
    testbed = opened(data=data)
    assert testbed.demonstrations("train") and not testbed.tested
    assert "The tests of 60 records are not run: the testbed has no `judge`." in testbed.notes
    if record is not APPS_STDIN:
        judged = TESTBEDS.parse(
            {"kind": "jsonl", "data": data, "judge": "sandbox", "backend": "bare", "time_limit_s": 7}
        )
        with judged.open(Context()) as testbed:
            problem = testbed.prompts("train")[0]
            assert testbed.tested and isinstance(problem, Problem)
            seconds = 4.5 if record is CONTEST else 7  # the contest states 1.5 s, which `slack` multiplies by 3
            assert problem.hidden_tests[0].how.task.limits.cpu_s == seconds * measure_machine_factor()
