"""The limits of a study that follow from its settings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from preflab.sampling.vllm.sampler import Vllm
from preflab.spec import parse_spec
from preflab.study.load import load_study
from preflab.study.results.caveats import describe_mismatch, find_base, name_shared_bases
from preflab.study.spec import Study


def study_with(evaluator_init: str | None) -> Study:
    model = {"kind": "reward-model", "model": {"path": "stage:judge"}}
    rm: dict[str, Any] = {"method": {"kind": "rm"}}
    settings: dict[str, Any] = {
        "schema_version": 1,
        "name": "mine",
        "question": "?",
        "testbed": {"kind": "sentiment"},
        "evaluators": {"true": {"kind": "true-reward"}, "learned": model},
        "stages": {
            "sft": {"method": {"kind": "sft"}},
            "judge": rm if evaluator_init is None else {**rm, "init": evaluator_init},
        },
        "arms": {
            "dpo": {"init": "stage:sft", "method": {"kind": "dpo"}},
            "start": {"baseline": True, "policy": "stage:sft", "init": "stage:sft"},
        },
    }
    return parse_spec(Study, settings, where="mine")


@pytest.mark.parametrize(("init", "bases"), [("stage:sft", ["stage:sft"]), (None, []), ("elsewhere/base", [])])
def test_an_evaluator_from_the_same_weights_as_the_policies_is_named(init: str | None, bases: list[str]) -> None:
    """Protects readers from an evaluator with the policies' own errors: an evaluator that begins with random weights of its
    own, or with another model, shares none."""
    lines = [*name_shared_bases(study_with(init))]
    assert [line.split(", ")[1] for line in lines] == bases
    assert all(line.startswith("learned: the model that scores the answers") for line in lines)


def test_a_base_model_from_the_hub_is_shared() -> None:
    """Protects `hh`, where policies and evaluator are both trained from SmolLM2. One sentence names all three uses."""
    study = load_study("hh")
    assert find_base(study, study.arms["ppo"]) == find_base(study, study.stages["evaluator"]) == "smollm2"
    (line,) = name_shared_bases(study)
    assert line.split(":")[0] == "reward-model, against-chosen, evaluator" and ", smollm2, " in line
    assert [*name_shared_bases(load_study("sentiment"))] == []


def arms_with(*steps: dict[str, float]) -> Any:
    """One arm, `ppo`, whose only run has these steps."""
    return {"ppo": [SimpleNamespace(steps=list(steps))]}


def test_the_mismatch_of_a_sampler_is_told() -> None:
    """Mean KL (.01 + .03) / 2 = .02, worst step .03, largest ratio 1.5, and (0 + .02) / 2 = 1% of the tokens at the cap.
    An arm without the measure, and a native sampler, give no sentence."""
    study = study_with(None)
    first = {"mismatch_kl": 0.01, "mismatch_ratio": 1.5, "importance_capped": 0.0}
    second = {"mismatch_kl": 0.03, "mismatch_ratio": 1.2, "importance_capped": 0.02}
    (line,) = describe_mismatch(study, arms_with(first, second, {"loss": 1.0}))
    assert line.startswith("ppo: the sampler's log-probabilities differed from the learner's")
    assert (
        "0.02 nats per token on average and 0.03 in the worst step; the largest ratio of two probabilities was 1.5."
        in line
    )
    assert "1.00% of the tokens were at the cap" in line
    del first["importance_capped"]
    (line,) = describe_mismatch(study, arms_with(first))
    assert line.endswith("The difference was not corrected by importance weights.")
    assert [*describe_mismatch(study, arms_with({"loss": 1.0}))] == []
    (line,) = describe_mismatch(study.model_copy(update={"sampler": Vllm()}), arms_with({"loss": 1.0}))
    assert line == "The sampler `vllm` drew all answers, in training and for the measurements."
