"""The evaluator `lm-eval`: measures of the policy itself, on items that are not the testbed's prompts."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from preflab.analysis.measured import tabulate_items
from preflab.analysis.statistics import mean_interval
from preflab.errors import UserError
from preflab.evaluation import EVALUATORS
from preflab.evaluation.lm_harness import LmEval, read_items
from preflab.evaluation.measure import Measure
from preflab.evaluation.returned import check_items
from preflab.evaluation.settings import Evaluation
from preflab.evaluation.several import evaluator_of, measures_by_evaluator
from preflab.models import tiny
from preflab.models.spec import TinyShape
from preflab.spec import Context
from preflab.types import Completion, Prompt

MISSING = importlib.util.find_spec("lm_eval") is None
needs_harness = pytest.mark.skipif(MISSING, reason='needs the LM Evaluation Harness: pip install "preflab[lm-eval]"')
SPEC = {"kind": "lm-eval", "tasks": {"mini": "acc"}}
TASK = """
task: mini
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{question}}"
doc_to_target: answer
doc_to_choice: choices
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: brier_score, aggregation: brier_score, higher_is_better: false}
metadata: {version: 1}
"""


def evaluators(*names: str) -> dict[str, Any]:
    specs = {"hidden-tests": "hidden-tests", "lm-eval": SPEC}
    return {name: EVALUATORS.parse(specs[name]) for name in names}


def test_it_chooses_and_decides_nothing() -> None:
    """Its items are not the testbed's prompts, so it is neither the first evaluator nor that of the headline."""
    measures = measures_by_evaluator(evaluators("hidden-tests", "lm-eval"), Evaluation())
    (measure,) = measures["lm-eval"]
    assert measure.name == "lm-eval/mini" and measure.share and measure.better == "higher"
    with pytest.raises(UserError, match="cannot choose temperatures"):
        measures_by_evaluator(evaluators("lm-eval"), Evaluation())
    with pytest.raises(UserError, match="not measured on the testbed's prompts"):
        evaluator_of(evaluators("hidden-tests", "lm-eval"), Evaluation(), "lm-eval/mini")


def test_without_the_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "preflab\[lm-eval\]"') as raised:
        LmEval(tasks={"mini": "acc"}).open(Context()).__enter__()
    assert "\n" not in str(raised.value)


def sample(item: int, value: float, chosen: str = "none") -> dict[str, Any]:
    return {"doc_id": item, "filter": chosen, "metrics": ["acc"], "acc": value}


def test_items_are_read() -> None:
    """The value of each item; of several filters the first, or the named one; what is not there is refused."""
    rows = [sample(0, 1.0, "strict"), sample(1, 0.0, "strict"), sample(0, 1.0, "loose"), sample(1, 1.0, "loose")]
    results: dict[str, Any] = {"samples": {"mini": rows}, "higher_is_better": {"mini": {"acc": True}}}
    assert read_items(results, "mini", "acc") == {"0": 1.0, "1": 0.0}
    assert read_items(results, "mini", "acc,loose") == {"0": 1.0, "1": 1.0}
    for metric, words in (("acc,exact", "no filter 'exact'"), ("f1", "no values of the metric 'f1'")):
        with pytest.raises(UserError, match=words):
            read_items(results, "mini", metric)
    with pytest.raises(UserError, match="gave no items"):
        read_items(results, "group", "acc")
    results["higher_is_better"]["mini"]["acc"] = False
    with pytest.raises(UserError, match="Lower is better"):
        read_items(results, "mini", "acc")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "its spec declares mini"),
        ({"mini": {}}, "Return a mapping from items"),
        ({"mini": {"0": 2.0}}, "item 0: the value of 'mini' is 2"),
        ({"mini": {"0": float("nan")}}, "must be a finite number"),
    ],
)
def test_values_are_checked(values: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_items(values, [Measure(name="mini", share=True)], "Own.measure_policy")


def finished(seed: int, items: dict[str, float] | None) -> Any:
    return SimpleNamespace(
        seed=seed, diverged=items is None, elsewhere={} if items is None else {"lm-eval/mini": items}
    )


def test_intervals_are_over_seeds_and_items() -> None:
    """The table is that of seeds x items, a diverged run has 0 on each item, and other items of another run are refused."""
    runs = [finished(0, {"0": 1.0, "1": 0.0}), finished(1, {"1": 1.0, "0": 1.0}), finished(2, None)]
    table = tabulate_items(runs, "lm-eval/mini")
    assert table is not None and table.diverged == (2,)
    assert np.array_equal(table.values, [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    interval = mean_interval(table)
    assert interval.low is not None and interval.problems == 2 and interval.seeds == 3
    assert tabulate_items(runs, "length") is None
    with pytest.raises(UserError, match="different items"):
        tabulate_items([*runs, finished(3, {"0": 1.0})], "lm-eval/mini")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a task file and its data."""
    data = tmp_path / "mini.jsonl"
    rows = [{"question": f"{n} plus 1 is", "choices": [str(n + 1), "none of these"], "answer": n % 2} for n in range(8)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mini.yaml").write_text(TASK.replace("DATA", str(data)))
    return tmp_path


def choose(policy: Any, question: str, choices: list[str]) -> int:
    """The choice with the highest log-probability, computed here."""
    scores: list[float] = []
    for choice in choices:
        start = policy.tokenizer(question, add_special_tokens=False)["input_ids"]
        ids = policy.tokenizer(f"{question} {choice}", add_special_tokens=False)["input_ids"]
        logits = policy.model(torch.tensor([ids])).logits[0].detach().log_softmax(-1)
        scores.append(sum(float(logits[place - 1, ids[place]]) for place in range(len(start), len(ids))))
    return int(np.argmax(scores))


@needs_harness
def test_items_of_a_local_task(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each item's value is that of a computation by hand; global random states and the model's mode stay as they were; a
    task that is not there, a metric that is lower when better, and the use as first evaluator are refused."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    policy = tiny.make_tiny(TinyShape(width=16, inner=16, layers=1, heads=2, context=64), seed=0)
    policy.model.train()
    before = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    with LmEval(tasks={"mini": "acc"}, folder=str(folder)).open(Context()) as opened:
        items = opened.measure_policy(policy)["mini"]
        with pytest.raises(UserError, match="does not grade answers"):
            opened.grade("test", [Prompt("x", ())], [Completion("x")])
    assert policy.model.training
    assert random.getstate() == before[0] and str(np.random.get_state()) == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    policy.model.eval()
    chosen = [choose(policy, f"{n} plus 1 is", [str(n + 1), "none of these"]) for n in range(8)]
    assert items == {str(n): float(chosen[n] == n % 2) for n in range(8)}
    with pytest.raises(UserError, match="has no task 'other'"):
        LmEval(tasks={"other": "acc"}, folder=str(folder)).open(Context()).__enter__()
    limited = LmEval(tasks={"mini": "acc"}, folder=str(folder), limit=3)
    with limited.open(Context()) as opened:
        assert [*opened.measure_policy(policy)["mini"]] == ["0", "1", "2"]
    with (
        LmEval(tasks={"mini": "brier_score"}, folder=str(folder)).open(Context()) as opened,
        pytest.raises(UserError, match="Lower is better"),
    ):
        opened.measure_policy(policy)


@needs_harness
def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no folder"):
        LmEval(tasks={"mini": "acc"}, folder=str(tmp_path / "none")).open(Context()).__enter__()
