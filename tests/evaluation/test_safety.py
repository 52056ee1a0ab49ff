"""The evaluator of helpfulness and harm: its measures, and dHelp against a reference arm in a study's results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.study.results.test_make import PROBLEMS, SEEDS, runs, study
from tests.written import written

from preflab.analysis.record import Interval
from preflab.errors import UserError
from preflab.evaluation import EVALUATORS
from preflab.evaluation.base import GradedPrompt, Summary
from preflab.evaluation.bench import OpenEvaluator
from preflab.evaluation.refusals import REFUSALS
from preflab.evaluation.safety import Safety, SafetyEvaluator
from preflab.evaluation.settings import Evaluation
from preflab.report import write_report
from preflab.rewards.base import Reward
from preflab.rewards.learned import Learned
from preflab.rewards.learned_cost import LearnedCost
from preflab.study.load import load_study, preset_names, study_data
from preflab.study.results.make import study_results
from preflab.train.files import write_json
from preflab.types import Completion, Prompt, Turn

SAFETY = {"kind": "safety", "reward": "stage:rm", "cost": "stage:cost", "relative_to": "sft"}
STAGES = {"sft": {"method": "sft"}, "rm": {"method": "rm"}, "cost": {"method": "cost"}}


class By(Reward):
    """Scores by a table of texts."""

    def __init__(self, table: dict[str, float]) -> None:
        self.table = table

    def score(self, prompts: Any, completions: Any) -> list[float]:
        return [self.table[completion.text] for completion in completions]


def test_measures_of_a_prompt() -> None:
    """Protects the measures. A prompt's four answers: rewards 3, 1, 0, 0: mean 1; costs 2, -1, -3, 0: harm -.5; two of four
    below 0, since a cost of 0 is not safe: .5; one refusal: .25. What always refuses has a refusal rate of 1."""
    rewards, costs = (
        {"a": 3.0, "b": 1.0, "I cannot help.": 0.0, "c": 0.0},
        {"a": 2.0, "b": -1.0, "I cannot help.": -3.0},
    )
    evaluator = SafetyEvaluator(By(rewards), By(costs | {"c": 0.0}), REFUSALS)
    spec, settings = EVALUATORS.parse(SAFETY), Evaluation()
    opened = OpenEvaluator(evaluator, spec.measures(settings))
    prompt = Prompt("p", (Turn("user", "?"),))

    def measured(texts: list[str]) -> dict[str, float]:
        answers = [Completion(text) for text in texts]
        rows = [GradedPrompt(prompt, answers, opened.grade("test", [prompt] * len(answers), answers))]
        return opened.summarise(rows, Summary(opened.measures, settings, lambda *names: 0))[0]

    assert measured(list(rewards)) == {"reward": 1.0, "harm": -0.5, "safety rate": 0.5, "refusal rate": 0.25}
    refusing = measured(["I cannot help."] * 3)
    assert refusing == {"reward": 0.0, "harm": -3.0, "safety rate": 1.0, "refusal rate": 1.0}


def test_the_headline_can_choose() -> None:
    """Protects claims on the safety rate: where it chooses temperatures and checkpoints, it is the score, and no other measure
    changes. Every study that comes with preflab chooses by its headline."""
    spec, settings = EVALUATORS.parse(SAFETY | {"chooses": "safety rate"}), Evaluation()
    evaluator = SafetyEvaluator(By({"a": 3.0, "b": 1.0}), By({"a": 2.0, "b": -1.0}), REFUSALS, spec.chooses)
    opened, prompt = OpenEvaluator(evaluator, spec.measures(settings)), Prompt("p", (Turn("user", "?"),))
    answers = [Completion("a"), Completion("b")]
    grades = opened.grade("test", [prompt, prompt], answers)
    assert [grade.score for grade in grades] == [0.0, 1.0]
    summary = Summary(opened.measures, settings, lambda *names: 0)
    measured = opened.summarise([GradedPrompt(prompt, answers, grades)], summary)[0]
    assert measured == {"safety rate": 0.5, "reward": 2.0, "harm": 0.5, "refusal rate": 0.0}
    for name in preset_names():
        for size in (None, *(study_data(name).get("sizes") or {})):
            preset = load_study(name, size)
            assert not isinstance(preset.evaluators[preset.main_evaluator], Safety) or preset.headline == preset.score


def test_the_spec() -> None:
    """Protects study files: a path alone is a model, the models are named with their roles, and patterns are checked."""
    spec = EVALUATORS.parse(SAFETY)
    assert (spec.reward, spec.cost) == (Learned(path="stage:rm"), LearnedCost(path="stage:cost"))
    assert spec.saved_models() == ("stage:rm", "stage:cost") and spec.cost_models() == ("stage:cost",)
    assert EVALUATORS.parse(EVALUATORS.dump(spec)) == spec and Safety(reward="a", cost="b").relative == ()  # type: ignore[arg-type]
    with pytest.raises(UserError, match="is not a regular expression"):
        EVALUATORS.parse(SAFETY | {"refusals": ["("]})
    with pytest.raises(UserError, match="`relative_to` names the arm 'nobody'"):
        study(stages=STAGES, evaluator=SAFETY | {"relative_to": "nobody"})
    with pytest.raises(UserError, match=r"`evaluators\.safety` is `stage:rm`, .* makes a reward model"):
        study(stages=STAGES, evaluator=SAFETY | {"cost": "stage:rm"})


def judged(directory: Path, shares: dict[str, float], **changes: Any) -> None:
    """Made-up results: the reward of a problem is its score, and every third answer is unsafe."""
    runs(directory, shares, **changes)
    for path in directory.glob("seed-*/*/result.json"):
        result = json.loads(path.read_text())
        for part in [result["evaluation"][name] for name in ("chosen", "unit")] if "evaluation" in result else []:
            for index, row in enumerate(part["problems"].values()):
                reward = sum(row["scores"]) / len(row["scores"])
                row["measures"] = {"reward": reward, "harm": index % 3 - 1.0, "safety rate": 0.5, "refusal rate": 0.0}
            part["measures"] = {
                "score": 0.5,
                "length": 5.0,
                "truncated": 0.0,
                "harm": 0.0,
                "reward": part["measures"]["score"],
            }
        write_json(path, result)
    for seed in range(SEEDS):
        for name in ("rm", "cost"):
            place = directory / f"seed-{seed}" / "stages" / name
            place.mkdir(parents=True)
            row = {"accuracy": 0.8, "pairs": 200, "loss": 0.5, "calibration_error": 0.1}
            row |= {"sign_accuracy": 0.9} if name == "cost" else {}
            product = "cost_model" if name == "cost" else "reward_model"
            write_json(place / "result.json", written(held_out=row, product=product))


def values(outcome: Any, metric: str) -> dict[str, Interval]:
    return {
        arm.name: each.value
        for arm in outcome.arms
        for each in arm.measures
        if each.metric == metric and each.decoding == "chosen" and not each.level
    }


def test_dhelp_and_the_evaluator_s_own_accuracy(tmp_path: Path) -> None:
    """Protects dHelp: an arm's reward less the reference's on the same problem and seed, with an interval from the cells; the
    reference's own is exactly 0. The accuracies of reward model and cost model stand beside the evaluator."""
    judged(tmp_path, {"ppo": 0.8, "dpo": 0.5, "sft": 0.3})
    spec = study(stages=STAGES, evaluator=SAFETY)
    outcome = study_results(spec, tmp_path, command="c")
    helped, rewards = values(outcome, "dHelp"), values(outcome, "reward")
    assert helped["ppo"].estimate == pytest.approx(0.5) and helped["dpo"].estimate == pytest.approx(0.2)
    assert helped["sft"].estimate == 0.0 and rewards["ppo"].estimate == pytest.approx(0.85)
    assert helped["ppo"].low is not None and helped["ppo"].low <= 0.5 <= helped["ppo"].high
    [measure] = [each for each in outcome.metrics if each.name == "dHelp"]
    assert "minus the mean reward of sft" in measure.note and measure.better == "higher"
    [evaluator] = outcome.evaluators
    assert (evaluator.accuracy.estimate, evaluator.cost_accuracy.estimate) == (pytest.approx(0.8), pytest.approx(0.8))
    assert evaluator.sign_accuracy.estimate == pytest.approx(0.9) and evaluator.can_rank
    assert [model.name for model in outcome.reward_models] == ["rm", "cost"]
    page = write_report(outcome, tmp_path / "report").read_text()
    assert "dHelp" in page and "signs of costs right" in page and "cost model: signs right" in page


def test_a_reference_that_is_missing_is_said(tmp_path: Path) -> None:
    """Protects from a dHelp of some seeds: where the reference diverged under one, none is shown, and a caveat says so."""
    judged(tmp_path, {"ppo": 0.8, "dpo": 0.5, "sft": 0.3}, diverged=("sft", 2))
    outcome = study_results(study(stages=STAGES, evaluator=SAFETY), tmp_path, command="c")
    assert not values(outcome, "dHelp") and PROBLEMS == 12
    assert any(
        caveat.startswith("dHelp is not shown, because it is relative to the arm sft") for caveat in outcome.caveats
    )


def test_a_cost_model_no_better_than_a_coin_cannot_rank(tmp_path: Path) -> None:
    """Protects from a safety rate by noise: the cost model's order counts beside the reward model's."""
    judged(tmp_path, {"ppo": 0.8, "dpo": 0.5, "sft": 0.3})
    for path in tmp_path.glob("seed-*/stages/cost/result.json"):
        result = json.loads(path.read_text())
        result["held_out"] |= {"accuracy": 0.52}
        write_json(path, result)
    outcome = study_results(study(stages=STAGES, evaluator=SAFETY), tmp_path, command="c")
    assert not outcome.evaluators[0].can_rank
    assert outcome.verdict.sentence.startswith("Cannot rank: the evaluator orders 52.0%")
