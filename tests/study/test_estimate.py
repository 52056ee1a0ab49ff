"""`--plan`: it times little, whatever the study's size, and refuses what the study would refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.testbeds.code.records import CONTEST, MBPP

from preflab.batch import TokenBatch
from preflab.errors import UserError
from preflab.models import forward
from preflab.spec import parse_spec
from preflab.study.estimate import TOKENS, Estimate
from preflab.study.plan import planned_runs
from preflab.study.spec import Study

ARMS = {"ppo": {"method": {"kind": "sft", "epochs": 1}}}


def measured(data: Path, kind: str, record: dict[str, Any], **evaluation: Any) -> Estimate:
    data.write_text(json.dumps(record) + "\n")
    spec = {
        "name": "plan",
        "question": "How long?",
        "testbed": {"kind": kind, "public_first": kind == "mbpp", "data": str(data), "validation": 0.1, "test": 0.1},
        "token_budget": 1 << 20,
        "evaluation": evaluation,
        "arms": ARMS,
    }
    study = parse_spec(Study, spec, where="the test")
    return Estimate.measured(study, [task.arm for task in planned_runs(study, data.parent)], 1)


def test_little_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the machine: the micro-batch of a paper's size filled its memory before anything was known."""
    seen: list[int] = []
    real = forward.token_logprobs

    def watched(model: Any, batch: TokenBatch, *more: Any, **named: Any) -> Any:
        seen.append(batch.tokens)
        return real(model, batch, *more, **named)

    monkeypatch.setattr(forward, "token_logprobs", watched)
    measured(tmp_path / "train.jsonl", "mbpp", {**MBPP, "task_id": 700, "text": "word " * 20_000})
    assert seen and max(seen) <= TOKENS


@pytest.mark.parametrize(
    ("kind", "record", "more", "words"),
    [
        ("code_contests", {**CONTEST, "public_tests": {"input": [], "output": []}}, {}, "has none"),
        ("mbpp", MBPP, {"clusters": 2}, "these tests are code"),
    ],
)
def test_what_the_study_refuses_is_refused(
    kind: str, record: dict[str, Any], more: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Protects a plan that looks good and fails hours later."""
    with pytest.raises(UserError, match=words):
        measured(tmp_path / "test.jsonl", kind, record, samples=2, k=[1], submissions=[[1, 2]], **more)
