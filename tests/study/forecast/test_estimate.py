"""`--plan`: its arithmetic by hand; it times little, whatever the study's size, and refuses what the study would refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.testbeds.code.records import CONTEST, MBPP

from preflab.batch import TokenBatch
from preflab.errors import UserError
from preflab.methods.cost import DataSize
from preflab.models import forward
from preflab.spec import Context, parse_spec
from preflab.study.forecast.estimate import FORK_SECONDS, Estimate, size_of, size_with_file
from preflab.study.forecast.make import forecast_study
from preflab.study.forecast.speed import TIMED_TOKENS, Speed
from preflab.study.plan import planned_runs
from preflab.study.spec import Study
from preflab.testbeds.jsonl import Jsonl

ARMS = {"ppo": {"method": {"kind": "sft", "epochs": 1}}}


def measured(data: Path, kind: str, record: dict[str, Any], **evaluation: Any) -> Estimate:
    data.write_text(json.dumps(record) + "\n")
    spec = {
        "name": "plan",
        "question": "How long?",
        "model": "tiny",
        "testbed": {"kind": kind, "public_first": kind == "mbpp", "data": str(data), "validation": 0.1, "test": 0.1},
        "token_budget": 1 << 20,
        "evaluation": evaluation,
        "arms": ARMS,
    }
    study = parse_spec(Study, spec, where="the test")
    return Estimate.measured(study, [task.spec for task in planned_runs(study, data.parent)], 1)


def test_little_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the machine: the micro-batch of a paper's size filled its memory before anything was known."""
    batch_tokens: list[int] = []
    real = forward.token_logprobs

    def watched(model: Any, batch: TokenBatch, *more: Any, **named: Any) -> Any:
        batch_tokens.append(batch.tokens)
        return real(model, batch, *more, **named)

    monkeypatch.setattr(forward, "token_logprobs", watched)
    measured(tmp_path / "train.jsonl", "mbpp", {**MBPP, "task_id": 700, "text": "word " * 20_000})
    assert batch_tokens and max(batch_tokens) <= TIMED_TOKENS


@pytest.mark.parametrize(
    ("kind", "record", "more", "words"),
    [
        ("code_contests", {**CONTEST, "public_tests": {"input": [], "output": []}}, {}, "has no public tests"),
        ("mbpp", MBPP, {"clusters": 2}, "these tests are code"),
    ],
)
def test_what_the_study_refuses_is_refused(
    kind: str, record: dict[str, Any], more: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Protects a plan that looks good and fails hours later."""
    with pytest.raises(UserError, match=words):
        measured(tmp_path / "test.jsonl", kind, record, samples=2, k=[1], submissions=[[1, 2]], **more)


SPEED = Speed(sampling=0.01, training=0.006, forward=0.002, forward_flops=2.0 * 1000 * 30.0, loading=0.1)
BY_HAND: dict[str, Any] = {
    "name": "plan",
    "testbed": {"kind": "minicode", "train": 100, "validation": 20, "test": 40},
    "evaluation": {
        "samples": 5,
        "validation_samples": 2,
        "temperatures": [0.5, 1.0],
        "look_prompts": 10,
        "look_samples": 1,
    },
    "looks": 2,
    "stages": {"sft": {"method": {"kind": "sft", "epochs": 2}}},
    "arms": {
        "ppo": {
            "init": "stage:sft",
            "reward": "tests",
            "method": {"kind": "ppo", "steps": 3, "rollouts": 8, "epochs": 2},
        },
        "four": {"init": "stage:sft", "method": {"kind": "best-of-n", "n": 4}},
    },
}


def by_hand(**changes: Any) -> dict[str, float]:
    """The seconds of each run, less those of starting it."""
    study = parse_spec(Study, BY_HAND | changes, where="test")
    runs = [run for run in planned_runs(study, Path("nowhere")) if run.seed == 0]
    estimate = Estimate(
        study,
        speeds={run.spec.model: SPEED for run in runs},
        sizes={
            "train": DataSize(prompts=100, demonstrations=100, pairs=100),
            "validation": DataSize(prompts=20, demonstrations=20, pairs=30),
            "test": DataSize(prompts=40, demonstrations=40, pairs=50),
        },
        opening=0.0,
        judging=0.003,
        sharing=1.0,
    )
    return {run.name: estimate.seconds(run) - FORK_SECONDS - SPEED.loading for run in runs}


def test_seconds_by_hand() -> None:
    """Sampling .01 s, training .006 s, reading .002 s a row, judging .003 s a program, .0018 s a graded answer, since 6 of
    10 are judged.

    sft: 2 x 100 rows trained 1.2; 2 looks x 10 answers, drawn and graded 20 x .0118 = .236, KL 20 x 3 x .002 = .12: 1.556.
    ppo: 24 answers drawn .24, judged .072; trained by actor and critic 2 x 48 x .006 = .576; read by reference and critic
    48 x .002 = .096; looks .356; validation 20 x 2 x 2 = 80 answers and test 40 x 2 x 5 = 400: 480 x .0118 = 5.664; KL 400 x 3
    x .002 = 2.4: 9.404.
    four: 480 answers of 4 samples each: 1920 drawn 19.2 and judged by public tests 5.76, 480 graded .864, KL 2.4: 28.224.
    """
    assert by_hand() == pytest.approx({"sft": 1.556, "ppo": 9.404, "four": 28.224})


def test_an_evaluator_that_runs_no_program_costs_no_judging() -> None:
    """Protects plans of `math` and of texts: without the judge's .0018 s, sft has 20 answers less .036 s: 1.556 - .036."""
    arms = {"ppo": BY_HAND["arms"]["ppo"]}
    graded = by_hand(arms=arms, evaluators={"own": "final-answer"})
    assert graded["sft"] == pytest.approx(1.52)


def test_a_reward_model_scores_all_held_out_pairs() -> None:
    """Protects the plan of reward models, whose measurement takes longer than a short training: 2 x 100 answers trained 1.2;
    both answers of 30 pairs at two looks and at the end, and of 50 test pairs: 2 x (3 x 30 + 50) x .002 = .56."""
    stages = {"sft": {"method": {"kind": "sft", "epochs": 2}}, "rm": {"init": "stage:sft", "method": {"kind": "rm"}}}
    ppo = BY_HAND["arms"]["ppo"] | {"reward": {"kind": "learned", "path": "stage:rm"}}
    assert by_hand(stages=stages, arms={"ppo": ppo})["rm"] == pytest.approx(1.76)
    few = BY_HAND["evaluation"] | {"pairs": 10}  # 2 x (3 x 10 + 10) x .002 = .16
    assert by_hand(stages=stages, arms={"ppo": ppo}, evaluation=few)["rm"] == pytest.approx(1.36)


def test_a_stage_makes_rankings_of_some_prompts() -> None:
    """Protects the plan of PRO and RRHF, whose rankings may be of fewer prompts than the data have. 10 rankings of 4
    answers, 2 epochs: 80 rows trained .48; looks .356, test and validation 5.664, KL 2.4 as above: 8.9."""
    rankings = {"init": "stage:sft", "reward": "tests", "method": {"kind": "rankings", "prompts": 10, "samples": 4}}
    rrhf = {"init": "stage:sft", "preferences": "stage:rankings", "method": {"kind": "rrhf", "epochs": 2}}
    stages = {**BY_HAND["stages"], "rankings": rankings}
    assert by_hand(stages=stages, arms={"rrhf": rrhf})["rrhf"] == pytest.approx(8.9)


def test_a_labels_budget_limits_what_buys_labels() -> None:
    """dpo: a budget of 25 labels pays for 25 of the 100 pairs. One epoch trains on 50 answers, .3 s, and reads them once,
    .1 s, instead of 1.2 + .4: 1.2 s less. ppo: 24 scores are within the budget; with 12 labels half of its .984 s is left.
    A learned reward is free, so that its run does not change."""
    dpo = {"init": "stage:sft", "method": {"kind": "dpo", "epochs": 1}}
    arms = {"dpo": dpo, "ppo": BY_HAND["arms"]["ppo"]}
    plain, some, few = (by_hand(arms=arms, **more) for more in ({}, labels(25), labels(12)))
    assert plain["dpo"] - some["dpo"] == pytest.approx(1.2)
    assert plain["ppo"] == some["ppo"] and plain["ppo"] - few["ppo"] == pytest.approx(0.492)
    stages = BY_HAND["stages"] | {"rm": {"init": "stage:sft", "method": {"kind": "rm"}}}
    arms = {"ppo": BY_HAND["arms"]["ppo"] | {"reward": {"kind": "learned", "path": "stage:rm"}}}
    assert by_hand(stages=stages, arms=arms)["ppo"] == by_hand(stages=stages, arms=arms, **labels(12))["ppo"]


def labels(amount: float) -> dict[str, Any]:
    return {"budget": {"unit": "labels", "amount": amount}}


def test_a_cost_is_planned_beside_the_reward() -> None:
    """Protects the plan of PPO with a cost: beside PPO's own work, a cost model reads 24 answers .048, the second critic is
    trained on 48 rows .288 and reads 24 answers .048: .384. A cost that is a function is judged for .072 instead of .048."""
    stages = {"sft": {"method": {"kind": "sft", "epochs": 2}}, "harm": {"method": "cost"}}
    ppo = BY_HAND["arms"]["ppo"]
    lag = ppo | {"method": ppo["method"] | {"kind": "ppo-lag"}, "cost": "stage:harm"}
    own = lag | {"cost": {"kind": "function", "target": "math:fsum"}}
    seconds = by_hand(stages=stages, arms={"ppo": ppo, "lag": lag, "own": own})
    assert seconds["lag"] - seconds["ppo"] == pytest.approx(0.384)
    assert seconds["own"] - seconds["lag"] == pytest.approx(0.024)


def test_a_compute_budget_is_shared_with_the_stages() -> None:
    """A row has 30 tokens of 1,000 parameters: 60,000 FLOP read. sft: 200 trained rows x 3 = 36 MFLOP, charged to ppo. ppo: 24
    drawn + 48 read + 3 x 96 trained = 360 rows, 21.6 MFLOP, for .984 s. Of a budget of 79.2 MFLOP 43.2 are left to ppo: twice
    as much, one .984 s more than by hand; best-of-4 trains nothing."""
    plain, budgeted = by_hand(), by_hand(budget={"unit": "compute", "amount": 79.2e6})
    assert budgeted["ppo"] - plain["ppo"] == pytest.approx(0.984)
    assert budgeted["four"] == plain["four"] and budgeted["sft"] == plain["sft"]


def test_a_plan_names_every_run(tmp_path: Path) -> None:
    """Protects `--plan`: stages and arms in the study's order, each with its seeds; the total is theirs, two at a time."""
    study = parse_spec(Study, BY_HAND | {"seeds": 3, "model": TINY}, where="test")
    forecast = forecast_study(study, tmp_path / "absent")
    assert [(row.part, row.name, row.runs, row.done) for row in forecast.rows] == [
        ("stage", "sft", 3, 0),
        ("arm", "ppo", 3, 0),
        ("arm", "four", 3, 0),
    ]
    assert forecast.seconds == pytest.approx(sum(3 * row.seconds for row in forecast.rows) / forecast.at_once)
    assert min(row.seconds for row in forecast.rows) > FORK_SECONDS


def test_a_plan_says_what_it_measures(tmp_path: Path) -> None:
    """Protects who waits: a plan said nothing for minutes while it timed large models. Each model is a line, of how many."""
    stages = {"sft": {"method": {"kind": "sft"}, "model": TINY | {"lora": {"rank": 2}}}}
    study = parse_spec(Study, BY_HAND | {"model": TINY, "stages": stages}, where="test")
    lines: list[str] = []
    forecast_study(study, tmp_path / "absent", say=lines.append)
    assert lines == [
        "Plan: opens the data, rewards and models of the runs, to check that the runs can start",
        "Plan: measures how long the data take to open, and the speed of the judge",
        "Plan: measures the speed of the model tiny with LoRA of rank 2 (1 of 2)",
        "Plan: measures the speed of the model tiny (2 of 2)",
    ]


def test_labelled_answers_are_counted_as_such(tmp_path: Path) -> None:
    """Protects the plan of KTO on answers with a label each: a file of them counted as pairs, and those of the testbed not at
    all. A ranking of a file counts with all of its answers."""
    rated = [{"prompt": f"{n}?", "completion": "a", "label": n % 2 == 0} for n in range(40)]
    ranked = [{"prompt": f"{n}?", "completions": ["a", "b", "c"], "scores": [1, 2, 3]} for n in range(5)]
    paired = [{"prompt": f"{n}?", "chosen": "a", "rejected": "b"} for n in range(7)]
    for name, rows in (("rated", rated), ("ranked", ranked), ("paired", paired)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = DataSize(prompts=9, demonstrations=8, pairs=6)
    sizes = [size_with_file(own, tmp_path / f"{name}.jsonl") for name in ("rated", "ranked", "paired", "absent")]
    assert sizes == [DataSize(9, 8, 0, rated=40), DataSize(9, 8, 5, 3), DataSize(9, 8, 7), DataSize(9, 8, 0)]
    with Jsonl(data=str(tmp_path / "rated.jsonl")).open(Context()) as testbed:
        assert size_of(testbed, "train").rated == len(testbed.rated("train")) > 0


TINY = {"name": "tiny", "tiny": {"width": 16, "inner": 16, "layers": 1, "heads": 2}}
