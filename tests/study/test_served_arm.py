"""A study in which a server runs one of the arms: the same table, claims and comparisons, and no invented figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.evaluation.tiny_server import TinyServer

from preflab.analysis.record import read_results
from preflab.api import run_study
from preflab.cli.plan import format_plan
from preflab.spec import parse_spec
from preflab.study.forecast.make import forecast_study
from preflab.study.spec import Study

STUDY: dict[str, Any] = {
    "name": "served",
    "model": {"name": "tiny", "tiny": {"width": 16, "inner": 16, "layers": 1, "heads": 2}},
    "testbed": {"kind": "minicode", "train": 16, "validation": 2, "test": 4},
    "evaluator": "hidden-tests",
    "evaluation": {"samples": 2, "k": [1], "validation_samples": 1, "max_new_tokens": 8, "temperatures": [0.0]},
    "seeds": 1,
    "looks": 1,
    "claims": [{"id": "c", "text": "Served is better.", "contrast": {"served": 1.0, "sft": -1.0}, "margin": 0.1}],
}
REQUESTS = 2 * 1 + 4 * 2 + 4
"""One answer to each of 2 validation prompts; to each of 4 test prompts, two answers at temperature 1 and a greedy one."""


def test_a_served_arm_stands_beside_a_trained_one(tmp_path: Path) -> None:
    """Protects the requirement: an arm that a server runs is planned (2 + 8 + 4 = 14 requests), measured, compared and claimed
    about as the arm that the study trains. Its compute is unknown and not 0, and the report names its model and server."""
    with TinyServer(lambda text, seed: "first") as server:
        arms = {
            "sft": {"method": {"kind": "sft", "epochs": 1, "batch_size": 8}},
            "served": {"policy": "openai:m", "endpoint": {"base_url": server.url, "backoff": 0.0}},
        }
        study = parse_spec(Study, {**STUDY, "arms": arms}, where="test")
        plan = format_plan(study, forecast_study(study, tmp_path / "run"))
        assert f"at most {REQUESTS} requests each" in plan
        assert server.requests == []
        assert run_study(study, tmp_path / "run", quiet=True).failures == ()
        assert len(server.requests) == REQUESTS
    results = read_results(tmp_path / "run" / "results.json")
    trained, served = sorted(results.arms, key=lambda arm: arm.name == "served")
    assert served.origin == f"openai:m at {server.host}"
    spent = served.runs[0].spent
    assert (spent.flops, spent.labels, spent.flops_an_answer) == (None, None, None)
    assert trained.runs[0].spent.flops
    assert {value.metric for value in served.measures} >= {"pass@1", "length"}
    assert (len(results.comparisons), len(results.claims)) == (2, 2)  # at two decodings
    assert f"served: The policy is served: openai:m at {server.host} answered." in "\n".join(results.caveats)
    assert results.model.name == "tiny"
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert server.host in report
