"""Rankings, ensembles and averaged reward models in a study: stages hand them on, and every member is used and charged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from preflab.arm.data import preferences_of, provenance_of, rankings_of, read_answers, refuse_shared_data
from preflab.arm.execute import execute
from preflab.arm.open import with_stage_models
from preflab.arm.outside_data import origin_notes
from preflab.arm.planned import PlannedRun
from preflab.arm.spec import Arm, input_paths, saved_models
from preflab.errors import UserError
from preflab.spec import Context, parse_spec
from preflab.study.plan import planned_runs
from preflab.study.spec import Study, all_stages_needed, stages_needed
from preflab.testbeds.base import Testbed
from preflab.train.files import read_json, write_json
from preflab.types import (
    Completion,
    Preference,
    Prompt,
    Ranking,
    Split,
    Turn,
    from_preference,
    from_ranking,
)

FAST = {"learning_rate": 3e-3}
DECODING = {"max_new_tokens": 5}
LENGTH = {"kind": "function", "target": "tests.study.test_ranked_study:length"}
STUDY: dict[str, Any] = {
    "name": "ranked",
    "testbed": {"kind": "minicode", "train": 24, "validation": 8, "test": 8},
    "model": {"name": "tiny", "tiny": {"width": 16, "inner": 16, "layers": 1, "heads": 2}},
    "evaluation": {"samples": 1, "k": [1], "temperatures": [1.0], "validation_samples": 1, "max_new_tokens": 5},
    "looks": 1,
    "seeds": 1,
    "stages": {
        "ranked": {"reward": LENGTH, "method": {"kind": "rankings", "demonstration": True, "decoding": DECODING}},
        **{
            f"rm-{n}": {"method": {"kind": "rm", "member": n, "shared_head": True, "batch_size": 8, "optim": FAST}}
            for n in range(2)
        },
        "warm": {"method": {"kind": "warm", "models": ["stage:rm-0", "stage:rm-1"]}},
    },
    "arms": {
        "rrhf": {"preferences": "stage:ranked", "method": {"kind": "rrhf", "epochs": 1, "optim": FAST}},
        "pro": {"method": {"kind": "pro", "epochs": 1, "optim": FAST}},
        "ensemble": {
            "reward": {"kind": "ensemble", "models": ["stage:rm-0", "stage:rm-1"], "combine": "worst"},
            "method": {"kind": "ppo", "steps": 1, "rollouts": 8, "mini_batches": 1, "decoding": DECODING},
        },
        "averaged": {
            "reward": {"kind": "learned", "path": "stage:warm"},
            "method": {"kind": "ppo", "steps": 1, "rollouts": 8, "mini_batches": 1, "decoding": DECODING},
        },
    },
}


def length(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
    """A reward in which an untrained model's samples differ."""
    return [float(len(text)) for text in texts]


class Bare(Testbed):
    """A testbed that has no more than a testbed must."""

    name = "bare"

    def prompts(self, split: Split) -> list[Prompt]:
        return []


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PlannedRun]:
    """The study's runs, done in this process, by name."""
    tasks = {task.name: task for task in planned_runs(study(), tmp_path_factory.mktemp("ranked"))}
    for task in tasks.values():
        execute(task.spec, task.directory)
    return tasks


def study() -> Study:
    return parse_spec(Study, STUDY, where="test")


def result(task: PlannedRun) -> dict[str, Any]:
    return read_json(task.directory / "result.json")


def metrics(task: PlannedRun) -> list[dict[str, float]]:
    return [json.loads(line) for line in (task.directory / "metrics.jsonl").read_text().splitlines()]


def test_every_stage_that_is_named_is_needed() -> None:
    """Protects order and charge: an ensemble's members, a method's models and rankings are stages that an arm needs."""
    jobs = {**study().stages, **study().arms}
    assert {name: stages_needed(job) for name, job in jobs.items() if stages_needed(job)} == {
        "warm": ["rm-0", "rm-1"],
        "rrhf": ["ranked"],
        "ensemble": ["rm-0", "rm-1"],
        "averaged": ["warm"],
    }
    assert all_stages_needed(study(), study().arms["averaged"]) == ["rm-0", "rm-1", "warm"]
    changed = {**STUDY["arms"]["ensemble"], "reward": {"kind": "ensemble", "models": ["stage:rm-0", "stage:rm-2"]}}
    with pytest.raises(UserError, match="needs the stage 'rm-2'"):
        parse_spec(Study, {**STUDY, "arms": {"ensemble": changed}}, where="test")


def test_rankings_are_handed_on(ran: dict[str, PlannedRun]) -> None:
    """Protects the stage's product: records of unequal scores, which RRHF learns from without paying for them again."""
    file = ran["ranked"].directory / "final/rankings.jsonl"
    rankings = [row for row in read_answers(file) if isinstance(row, Ranking)]
    assert rankings and len(rankings) == len(file.read_text().splitlines())  # ties are left out when it is read
    assert max(len(row.completions) for row in rankings) == 5  # four samples and the demonstration
    assert result(ran["ranked"])["product"] == "rankings" and result(ran["ranked"])["counts"]["labels"] == 24 * 5
    assert result(ran["rrhf"])["counts"]["labels"] == 0 and result(ran["rrhf"])["diverged"] is None
    assert len(metrics(ran["rrhf"])) == -(-len(rankings) // 64)
    assert result(ran["pro"])["counts"]["labels"] > 0  # the testbed's own pairs cost theirs


def test_members_differ_and_are_measured(ran: dict[str, PlannedRun]) -> None:
    """Protects the reward models' record: measures with both tables of the kept weights, members that are not one model."""
    results = {name: result(ran[name]) for name in ("rm-0", "rm-1", "warm")}
    assert len({row["validation"]["loss"] for row in results.values()}) == 3
    for row in results.values():
        assert (
            row["product"] == "reward_model" and row["held_out"] is None
        )  # this testbed has no pairs in its test split
        measured = row["validation"]
        assert measured["score_std"] > 0 and measured["pairs"] > 0
        for table, name in (("reliability", "right"), ("by_margin", "accuracy")):
            assert sum(bins["count"] for bins in measured[table]) == measured["pairs"]
            right = sum(bins["count"] * bins[name] for bins in measured[table])
            assert right / measured["pairs"] == pytest.approx(measured["accuracy"])


def test_each_member_is_normalised_by_its_own_moments(ran: dict[str, PlannedRun]) -> None:
    """Protects the ensemble from adding scores of different units: each member has its stage's directory and moments."""
    stages = ran["rm-0"].directory.parent
    spec = with_stage_models(ran["ensemble"].spec.reward, stages)
    for name, model in zip(("rm-0", "rm-1"), spec.models, strict=True):
        measured = result(ran[name])["validation"]
        assert model.path == str(stages / name / "final")
        assert (model.mean, model.std) == (measured["score_mean"], measured["score_std"])
    assert metrics(ran["ensemble"])[0]["reward"] != metrics(ran["averaged"])[0]["reward"]


def test_an_ensemble_costs_each_members_pass(ran: dict[str, PlannedRun]) -> None:
    """Protects the budget: on the same rollouts the ensemble's run reads their tokens once more than the averaged model's."""
    one, two = (metrics(ran[name])[0] for name in ("averaged", "ensemble"))
    assert one["sampled_tokens"] == two["sampled_tokens"] and one["labels"] == two["labels"] == 0
    assert two["forward_tokens"] > one["forward_tokens"]


def test_what_members_saw_counts(ran: dict[str, PlannedRun], tmp_path: Path) -> None:
    """Protects the evaluator's independence: data that one member alone saw is data that the arm saw."""
    for number in range(2):
        (tmp_path / f"rm-{number}/final").mkdir(parents=True)
        write_json(tmp_path / f"rm-{number}/final/trained_on.json", [{"name": f"data-{number}"}])
    for name in ("ensemble", "warm"):
        arm = ran[name].spec
        assert saved_models(arm.reward or arm.method) == ("stage:rm-0", "stage:rm-1")
        assert provenance_of(arm, Bare(), tmp_path) == [{"name": "data-0"}, {"name": "data-1"}]
    assert input_paths(Arm(name="x", testbed="minicode", preferences="a", init="b")) == ["b", "a"]
    trained = Arm(name="x", testbed="minicode", evaluator={"kind": "reward-model", "model": {"path": "stage:rm-9"}})
    with pytest.raises(UserError, match="do not name the training data of this model"):
        refuse_shared_data(trained, [], tmp_path)
    stated = {"path": "stage:rm-9", "trained_on": "HH-RLHF, by its authors."}
    told = Arm(name="x", testbed="minicode", evaluator={"kind": "reward-model", "model": stated})
    refuse_shared_data(told, [], tmp_path)
    [note] = origin_notes(told, tmp_path)
    assert "stage:rm-9 was made elsewhere. It was trained on: HH-RLHF, by its authors. preflab cannot" in note
    (tmp_path / "rm-9/final").mkdir(parents=True)
    write_json(tmp_path / "rm-9/final/trained_on.json", [])
    assert origin_notes(told, tmp_path) == []  # what the files say counts


def test_pairs_and_rankings_stand_for_each_other(tmp_path: Path) -> None:
    """Protects one file for every method: of a ranking the pair is its best over its worst answer, a pair is a ranking of
    two; a testbed's own rankings count unless a file is named."""
    rows = [{"prompt": f"{n}?", "completions": ["1", "2", "3"], "scores": [0, 2, 1]} for n in range(40)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompt = Prompt("a", (Turn("user", "a?"),))
    three = Ranking(prompt, (Completion("b"), Completion("c"), Completion("d")), (1.0, 3.0, -1.0))
    pair = Preference(prompt, Completion("x"), Completion("y"))
    file = tmp_path / "mixed.jsonl"
    equal = Ranking(prompt, three.completions, (1.0, 1.0, 1.0))  # teaches no order: left out
    lines = (from_ranking(three), from_ranking(equal), from_preference(pair))
    file.write_text("".join(json.dumps(row) + "\n" for row in lines))
    job = {"name": "x", "testbed": {"kind": "jsonl", "data": str(tmp_path / "data.jsonl")}}
    own, named = Arm.model_validate(job), Arm.model_validate({**job, "preferences": str(file)})
    with own.testbed.open(Context()) as data:
        rankings = rankings_of(own, tmp_path, data)
        assert {row.scores for row in rankings()} == {(2.0, 1.0, 0.0)}
        rankings = rankings_of(named, tmp_path, data)
        assert rankings() == [three, Ranking(prompt, (pair.chosen, pair.rejected), (1.0, 0.0))]
        pairs = preferences_of(named, tmp_path, data)()
    assert pairs == [Preference(prompt, Completion("c"), Completion("d"), margin=4.0), pair]
    assert list(rankings_of(own, tmp_path, Bare())()) == []
