"""What a headline rests on: the leader against each other arm, and each arm against its start; made-up runs, as there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.study.results.test_make import SEEDS, runs, study, write
from tests.written import written

from preflab.analysis.record import Results, Spent
from preflab.arm.result import TrainedResult
from preflab.errors import UserError
from preflab.study.results.caveats import name_cut_short
from preflab.study.results.make import study_results

BASELINE = {"policy": "stage:sft", "init": "stage:sft", "baseline": True}
DPO = {"method": "dpo", "init": "stage:sft"}
PPO = {"method": "ppo", "reward": "tests", "init": "stage:sft"}


def answer(directory: Path, shares: dict[str, float], arms: dict[str, Any], **changes: Any) -> Results:
    runs(directory, shares)
    return study_results(study(arms=arms, comparisons=[], **changes), directory, command="")


@pytest.mark.parametrize(
    ("share", "winner", "sentence"),
    [
        (0.8, "dpo", "dpo won: pass@1 85.0%, ahead of its baseline sft by 50.0 points (95% interval "),
        (0.3, None, "Not decided: dpo, at pass@1 35.0%, does not differ significantly from its baseline sft (35.0%)."),
        (
            0.0,
            None,
            "No arm beats the baseline sft, at pass@1 35.0%: the best arm, dpo, at 5.0%, is behind by 30.0 points",
        ),
    ],
)
def test_one_arm_against_its_baseline(tmp_path: Path, share: float, winner: str | None, sentence: str) -> None:
    """Protects the question that is asked most, one method against SFT: it is answered by their paired difference, a family
    of one, which stands under the headline. A baseline never wins, and its budget is not the arm's."""
    outcome = answer(tmp_path, {"dpo": share, "sft": 0.3}, {"dpo": DPO, "sft": BASELINE})
    assert outcome.verdict.sentence.startswith(sentence) and outcome.verdict.winner == winner
    (pair,) = outcome.verdict.evidence
    assert (pair.first, pair.second, pair.family, pair.metric) == ("dpo", "sft", 1.0, "pass@1")
    assert pair.verdict == {0.8: "better", 0.3: "not decided", 0.0: "worse"}[share]
    assert outcome.verdict.holds_under_other_budget == "unknown"
    assert "carry over" not in outcome.verdict.other_budget


def test_an_arm_alone_is_compared_with_nothing(tmp_path: Path) -> None:
    """Protects the one sentence that may say so: a study of one arm without a baseline."""
    outcome = answer(tmp_path, {"dpo": 0.3}, {"dpo": DPO})
    assert outcome.verdict.sentence.startswith("dpo is the only arm, at pass@1 35.0%")
    assert outcome.verdict.evidence == () and outcome.verdict.winner is None


def test_nobody_wins_who_does_not_beat_the_start(tmp_path: Path) -> None:
    """Protects from a winner that training made no better: ppo beats dpo by far, and SFT is as good as ppo."""
    outcome = answer(tmp_path, {"ppo": 0.6, "dpo": 0.1, "sft": 0.6}, {"ppo": PPO, "dpo": DPO, "sft": BASELINE})
    assert outcome.verdict.winner is None and outcome.verdict.tied == ("sft",)
    assert outcome.verdict.sentence.endswith("does not differ significantly from its baseline sft (65.0%).")
    assert outcome.verdict.other_budget.startswith("No arm won")


def test_the_evidence_is_the_leader_against_each_and_each_against_its_start(tmp_path: Path) -> None:
    """Protects what stands under the headline, and in results.json. Of four arms that compete the leader's three comparisons
    count as 4/2 (Hsu); the four arms with two baselines as 8 (Bonferroni). An arm meets the baseline that it started from,
    the leader every baseline."""
    other = {"policy": "stage:big", "init": "stage:big", "baseline": True}
    arms = {"ppo": PPO, "dpo": DPO, "big-ppo": {**PPO, "init": "stage:big"}, "big-dpo": {**DPO, "init": "stage:big"}}
    stages = {"sft": {"method": "sft"}, "big": {"method": "sft"}}
    runs(tmp_path, {"ppo": 0.8, "dpo": 0.3, "big-ppo": 0.4, "big-dpo": 0.3, "sft": 0.3, "big": 0.3})
    for seed in range(SEEDS):
        write(tmp_path / f"seed-{seed}" / "stages" / "big", "big", 0.0, seed=seed)
    spec = study(arms={**arms, "sft": BASELINE, "big": other}, stages=stages, comparisons=[])
    outcome = Results.model_validate_json(study_results(spec, tmp_path, command="").model_dump_json())
    pairs = [(pair.first, pair.second, pair.family) for pair in outcome.verdict.evidence]
    assert pairs == [
        *(("ppo", "dpo", 2.0), ("ppo", "big-ppo", 2.0), ("ppo", "big-dpo", 2.0)),
        *(("ppo", "sft", 8.0), ("ppo", "big", 8.0)),
        *(("dpo", "sft", 8.0), ("big-ppo", "big", 8.0), ("big-dpo", "big", 8.0)),
    ]
    assert outcome.verdict.winner == "ppo"


def test_an_arm_from_elsewhere_does_not_spend_what_the_baseline_spent(tmp_path: Path) -> None:
    """Protects from another arm's budget: KL is measured from the SFT stage, which the foreign policy did not need."""
    arms = {"theirs": {"policy": "elsewhere", "init": "stage:sft"}, "dpo": DPO}
    outcome = answer(tmp_path, {"theirs": 0.8, "dpo": 0.3}, arms)
    theirs = next(arm for arm in outcome.arms if arm.name == "theirs")
    assert theirs.runs[0].spent == Spent() and theirs.origin == "elsewhere"
    assert "is not known for arms that were trained elsewhere: theirs" in outcome.verdict.other_budget


def test_where_every_run_diverged_there_is_a_report(tmp_path: Path) -> None:
    """Protects the reasons: the report says that nothing was measured, and why each run stopped."""
    for seed in range(SEEDS):
        write(tmp_path / f"seed-{seed}" / "dpo", "dpo", 0.0, seed=seed, diverged=True)
    outcome = study_results(study(arms={"dpo": {"method": "dpo"}}, comparisons=[], stages={}), tmp_path, command="")
    assert outcome.verdict.sentence.startswith("No result: every run of every arm diverged.")
    assert {run.note for run in outcome.arms[0].runs} == {"The loss is nan."}


def test_where_no_run_finished_the_first_failure_is_named(tmp_path: Path) -> None:
    """Protects the user from having to look for it."""
    with pytest.raises(UserError, match=r"nothing to report yet\. dpo: no room"):
        study_results(study(), tmp_path, command="", failures=["dpo: no room", "ppo: no room"])


def test_no_interval_leaves_what_its_quantity_can_be(tmp_path: Path) -> None:
    """Protects from a KL below 0 and a share above 1: KLs of 0, 0, 0, 0 and 3 have the mean .6 and a t interval that begins
    at .6 - 2.78 * 1.34 / sqrt(5) < 0; of 12 problems an arm solves 10 of 10 but one, at .99 on average."""
    runs(tmp_path, {"dpo": 1.0, "sft": 0.0})
    for seed in range(SEEDS):
        path = tmp_path / f"seed-{seed}" / "dpo" / "result.json"
        kl = "3.0" if seed == 4 else "0.0"
        path.write_text(path.read_text().replace('"estimate": 1.5', f'"estimate": {kl}'))
    outcome = study_results(study(arms={"dpo": DPO, "sft": BASELINE}, comparisons=[]), tmp_path, command="")
    values = {(arm.name, row.metric): row.value for arm in outcome.arms for row in arm.measures if not row.level}
    assert values["dpo", "kl"].low == 0.0 and values["dpo", "kl"].high == pytest.approx(
        0.6 + 2.776 * 1.3416 / 5**0.5, abs=1e-2
    )
    ends = [end for value in values.values() for end in (value.low, value.high) if end is not None]
    assert min(ends) >= 0.0
    assert values["dpo", "pass@1"].high is not None and values["dpo", "pass@1"].high <= 1.0


def test_a_tuned_value_at_the_edge_is_remarked(tmp_path: Path) -> None:
    """Protects from a study that stopped searching too early: the largest of three rates and the smaller of two betas are
    named, a value inside its space, a name and a switch are not."""
    space = {
        "lr": [1e-4, 1e-3, 2e-3],
        "beta": [0.1, 0.3],
        "clip": [1, 2, 3],
        "loss": ["ipo", "hinge"],
        "on": [False, True],
    }
    chosen = {"lr": 2e-3, "beta": 0.1, "clip": 2, "loss": "ipo", "on": True}
    trials = [{"arm": "dpo", "settings": chosen, "seed": 1000, "score": 0.5, "chosen": True}]
    others = ({"lr": 1e-4}, {"lr": 1e-3}, {"beta": 0.3}, {"clip": 1}, {"clip": 3}, {"on": False})
    trials += [{"arm": "dpo", "settings": chosen | other, "seed": 1000, "score": 0.4} for other in others]
    outcome = answer(
        tmp_path,
        {"dpo": 0.3, "sft": 0.3},
        {"dpo": DPO, "sft": BASELINE},
        tuning={"spaces": {"dpo": space}, "shipped": trials},
    )
    assert outcome.tuning.at_edge == (
        "dpo: lr = 0.002 is the largest of 0.0001, 0.001, 0.002",
        "dpo: beta = 0.1 is the smallest of 0.1, 0.3",
    )
    assert any(caveat.endswith("may be outside the tried range: dpo (lr, beta).") for caveat in outcome.caveats)


def test_a_run_that_was_cut_short_is_remarked() -> None:
    """Protects the claim "trained to its plateau": two of three runs used all that they may use before."""
    state = {"stale": 1, "updates": 9, "cooling_from": 0.5}
    cut, ended, none, old = (
        TrainedResult(**written(**({} if reached == "old" else {"ending": reached})))
        for reached in (state | {"reached": False}, state | {"reached": True}, None, "old")
    )
    (words,) = name_cut_short({"stage sft": [cut, ended, cut], "ppo": [ended], "dpo": [none], "old": [old]})
    assert words.startswith("stage sft: in 2 of 3 runs validation had improved recently")
