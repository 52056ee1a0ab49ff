"""From what runs wrote to `Results`: tables, charges, the verdict's words. Run directories are written by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.written import COUNTS, written

from preflab.analysis.gather import gather, mean_used
from preflab.analysis.record import Results, Spent
from preflab.analysis.reward_models import wilson_interval
from preflab.api import report_study
from preflab.errors import UserError
from preflab.evaluation import EVALUATORS, PAIRWISE_EVALUATORS
from preflab.evaluation.base import EvaluatorSpec
from preflab.evaluation.measure import Measure
from preflab.evaluation.measures import pass_at_k
from preflab.evaluation.settings import Evaluation
from preflab.report import metrics
from preflab.spec import Registry, parse_spec
from preflab.study.plan import planned_runs
from preflab.study.results.arms import setting_differences
from preflab.study.results.make import study_results
from preflab.study.results.samples import describe_failure
from preflab.study.results.subjects import describe_evaluator, read_first_paragraph
from preflab.study.runner import is_done
from preflab.study.spec import Study
from preflab.testbeds import TESTBEDS
from preflab.train.files import write_json

SEEDS, PROBLEMS = 5, 12
COIN = {"accuracy": 0.55, "pairs": 100, "loss": 0.7, "calibration_error": 0.1}


def study(**changes: Any) -> Study:
    data = {
        "name": "made-up",
        "question": "Who wins?",
        "testbed": "minicode",
        "seeds": SEEDS,
        "budget": {"unit": "compute", "amount": 1000},
        "stages": {"sft": {"method": "sft"}},
        "arms": {
            "ppo": {
                "method": {"kind": "ppo", "clip": 0.3, "optim": {"learning_rate": 1}},
                "init": "stage:sft",
                "reward": "tests",
            },
            "dpo": {"method": "dpo", "init": "stage:sft"},
            "sft": {"policy": "stage:sft", "init": "stage:sft", "baseline": True},
        },
        "comparisons": [["ppo", "dpo"]],
    }
    return parse_spec(Study, {**data, **changes}, where="test")


def measured(share: float, seed: int) -> dict[str, Any]:
    """Of 10 samples of each problem about `share` are right, a little different by problem and seed."""
    rows = {}
    for index in range(PROBLEMS):
        right = min(10, max(0, round(10 * share) + (index + seed) % 2))
        scores = [1.0] * right + [0.0] * (10 - right)
        rates = {f"pass@{k}": pass_at_k(10, right, k) for k in (1, 5)}
        rows[f"p{index}"] = {"level": ("easy", "hard")[index % 2], "scores": scores, "measures": rates}
    mean = sum(sum(row["scores"]) for row in rows.values()) / (10 * PROBLEMS)
    five = sum(row["measures"]["pass@5"] for row in rows.values()) / PROBLEMS
    measures = {"score": mean, "pass@1": mean, "pass@5": five, "length": 5.0, "truncated": 0.0}
    return {"measures": measures, "problems": rows, "outcomes": {"passed": 1}}


def write(directory: Path, name: str, share: float, *, seed: int, labels: float = 0.0, diverged: bool = False) -> None:
    part = measured(share, seed)
    counts = {"flops": 100.0, "labels": labels, "sampled_tokens": 1.0, "forward_tokens": 0.0, "trained_tokens": 1.0}
    result: dict[str, Any] = {
        "name": name,
        "seed": seed,
        "method": name,
        "product": "policy",
        "parameters": 10,
        "notices": [],
        "data_notes": ["3 pairs were dropped"],
        "diverged": "The loss is nan." if diverged else None,
        "counts": counts,
        "best": {"done": 4, "best_score": 0.5, "best_step": 3},
        "last": {},
    }
    if not diverged:
        answer = {"problem": "p0", "prompt": "do it", "level": "easy", "text": "done", "truncated": False}
        answer |= {"score": 1.0, "outcome": "passed", "passed": [True], "detail": {}}
        result["evaluation"] = {
            "temperature": 0.6,
            "validation": {"0.6": 0.5},
            "inference": {"n": 1},
            "chosen": part,
            "unit": part | {"kl": {"estimate": 1.5, "estimator": "exact", "entropy": 0.2}},
            "samples": [answer],
        }
    directory.mkdir(parents=True)
    write_json(directory / "result.json", result)
    write_json(directory / "manifest.json", {"versions": {"python": "3.11"}, "revision": f"commit-{seed // 3}"})
    record = {
        "progress": 0.5,
        "loss": 1.0,
        "reward": 2.0,
        "kl": 0.1,
        "flops": 50.0,
        "labels": 1.0,
        "trained_tokens": 5.0,
    }
    lines = [json.dumps({"step": step, **record}) for step in (1, 2)]
    (directory / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def runs(
    directory: Path, shares: dict[str, float], *, diverged: tuple[str, int] | None = None, labels: float = 7.0
) -> None:
    for seed in range(SEEDS):
        stage = directory / f"seed-{seed}" / "stages" / "sft"
        stage.mkdir(parents=True)
        write_json(
            stage / "result.json",
            written(counts=COUNTS | {"flops": 1000.0, "trained_tokens": 9.0}),
        )
        for name, share in shares.items():
            gone = diverged == (name, seed)
            write(
                directory / f"seed-{seed}" / name,
                name,
                share,
                seed=seed,
                labels=labels if name == "ppo" else 7.0,
                diverged=gone,
            )


def results_of(tmp_path: Path, spec: Study | None = None, **changes: Any) -> Results:
    runs(tmp_path, {"ppo": 0.8, "dpo": 0.3, "sft": 0.3}, **changes)
    return study_results(spec or study(), tmp_path, command="preflab study made-up")


def test_a_clear_winner(tmp_path: Path) -> None:
    """Protects the verdict: .8 against .3 on every problem and seed is won; the sentence has figure, lead and interval;
    the winner used no more labels than the other, so that it holds under that budget too. The baseline cannot win."""
    outcome = results_of(tmp_path)
    assert outcome.verdict.winner == "ppo"
    assert "ppo won under equal compute: pass@1 85.0%" in outcome.verdict.sentence
    assert "50.0 points (95% interval" in outcome.verdict.sentence
    assert outcome.verdict.holds_under_other_budget == "yes"
    assert not outcome.verdict.preliminary
    pair, _ = outcome.comparisons
    assert (pair.first, pair.second, pair.verdict, pair.named) == ("ppo", "dpo", "better", True)
    assert pair.has_no_spread and "no spread between seeds or problems" in pair.reason


def test_another_measure_may_decide(tmp_path: Path) -> None:
    """Protects the paper's tables: under `headline: pass@5` each cell is the problem's own pass@5. With 3 of 10 right (half of
    the problems; 4 in the others) it is 1 - C(7,5)/C(10,5) = 11/12, or 1 - C(6,5)/C(10,5) = 41/42: the arms lie closer than
    by pass@1, 85 against 35. Both have intervals, overall and by level; curves and the frontier stay the mean score's."""
    outcome = results_of(tmp_path, study(evaluation={"samples": 10}, headline="pass@5"))
    assert outcome.headline == "pass@5" == outcome.metrics[0].name
    ppo, dpo, _ = outcome.arms
    by_name = {(row.metric, row.level): row.value for row in dpo.measures if row.decoding == "chosen"}
    assert by_name["pass@5", ""].estimate == pytest.approx((11 / 12 + 41 / 42) / 2)
    assert by_name["pass@1", ""].estimate == pytest.approx(0.35)
    assert all(by_name[name, level].low is not None for name in ("pass@1", "pass@5") for level in ("", "easy", "hard"))
    assert outcome.comparisons[0].estimate == pytest.approx(1 - (11 / 12 + 41 / 42) / 2)
    assert "pass@5 100.0%" in outcome.verdict.sentence
    assert ppo.runs[0].metrics["pass@1"] == pytest.approx(0.85)
    assert {point.score for point in dpo.runs[0].frontier} == {dpo.runs[0].metrics["pass@1"]}
    assert metrics.find_metric(outcome, "validation").label == "pass@1 on validation"


def test_a_failing_test_is_said_in_lines() -> None:
    """Protects the reader: a part of one line stays on it, several lines make a block, and a long part is cut."""
    detail = {"test": 2, "input": "3\n1 2\n", "expected": [1, 2], "got": "x" * 700}
    assert describe_failure(detail) == f"test: 2\ninput:\n  3\n  1 2\nexpected: [1, 2]\ngot: {'x' * 600} …"


def test_more_labels_leave_the_other_budget_open(tmp_path: Path) -> None:
    """Protects honesty: a winner that used more labels is not said to win under equal labels."""
    outcome = results_of(tmp_path, labels=500.0)
    assert outcome.verdict.winner == "ppo"
    assert outcome.verdict.holds_under_other_budget == "unknown"
    assert "more labels" in outcome.verdict.other_budget


def test_nothing_to_tell_apart(tmp_path: Path) -> None:
    """Protects "not decided": equal arms have no winner, and the sentence names the arms that the leader cannot be told
    from."""
    runs(tmp_path, {"ppo": 0.3, "dpo": 0.3, "sft": 0.3})
    outcome = study_results(study(), tmp_path, command="")
    assert outcome.verdict.winner is None
    assert outcome.verdict.sentence.startswith("Not decided") and outcome.verdict.sentence.endswith(
        f"from {outcome.verdict.tied[0]}."
    )
    assert len(outcome.verdict.tied) == 1


def test_where_nobody_solves_anything_nobody_leads(tmp_path: Path) -> None:
    """Protects readers from a leader by the order of the arms; a share that has another name is a share too."""
    for seed in range(SEEDS):
        for name in ("ppo", "dpo"):
            write(tmp_path / f"seed-{seed}" / name, name, -1.0, seed=seed)
    outcome = study_results(
        study(stages={}, arms={"ppo": {"method": "ppo", "reward": "tests"}, "dpo": {"method": "dpo"}}),
        tmp_path,
        command="",
    )
    assert outcome.verdict.sentence == "Not decided under equal compute: no arm solved any problem (pass@1 0.0%)."
    assert outcome.verdict.tied == ()  # none is the best
    assert any(caveat.startswith("ppo, dpo: no spread between seeds or problems") for caveat in outcome.caveats)


def test_a_headline_that_did_not_choose_is_a_caveat(tmp_path: Path) -> None:
    """Protects readers: pass@1 chose temperatures and checkpoints where pass@5 decides, and only there is it said."""
    runs(tmp_path, {"ppo": 0.8, "dpo": 0.5, "sft": 0.3})
    for headline, count in (("pass@5", 1), ("pass@1", 0), ("", 0)):
        caveats = study_results(study(headline=headline), tmp_path, command="").caveats
        said = [caveat for caveat in caveats if caveat.startswith("The headline is pass@5, but pass@1 chose the check")]
        assert len(said) == count


def test_a_run_that_fell_or_diverged_has_collapsed(tmp_path: Path) -> None:
    """Protects the collapses of a study: dpo fell from .35 to .05 under every seed, one run of ppo diverged, and the baseline
    cannot collapse. A share of .1 of the start leaves dpo standing."""
    runs(tmp_path, {"ppo": 0.8, "dpo": 0.0, "sft": 0.3}, diverged=("ppo", 2))
    ppo, dpo, sft = study_results(study(), tmp_path, command="").arms
    assert ppo.collapse is not None and dpo.collapse is not None and sft.collapse is None
    assert (ppo.collapse.seeds, dpo.collapse.seeds) == ((2,), (0, 1, 2, 3, 4))
    assert ppo.collapse.means["chosen"].estimate == pytest.approx(0.85) and dpo.collapse.means == {}
    outcome = study_results(study(collapse=0.1), tmp_path, command="")
    assert outcome.arms[1].collapse is not None and outcome.arms[1].collapse.seeds == ()
    assert "below 10% of the " in outcome.collapse_rule


def test_a_collapse_is_measured_from_the_own_start_alone(tmp_path: Path) -> None:
    """Protects the rule from another arm's start: without a baseline that measures its start, only a diverged run has
    collapsed, and the report says so. Where every run diverged, all collapsed."""
    runs(tmp_path, {"ppo": 0.8, "dpo": 0.0, "sft": 0.3})
    other = {"policy": "some/where", "baseline": True}
    arms = {"dpo": {"method": "dpo", "init": "stage:sft"}, "sft": other}
    dpo = study_results(study(arms=arms, comparisons=[]), tmp_path, command="").arms[0]
    assert dpo.collapse is not None and (dpo.collapse.seeds, dpo.collapse.compared) == ((), False)
    lost = tmp_path / "lost"
    for seed in range(SEEDS):
        write(lost / f"seed-{seed}" / "dpo", "dpo", 0.0, seed=seed, diverged=True)
    alone = {"dpo": {"method": "dpo"}}
    outcome = study_results(study(arms=alone, stages={}, comparisons=[]), lost, command="")
    assert outcome.arms[0].collapse is not None and outcome.arms[0].collapse.seeds == (0, 1, 2, 3, 4)


def test_both_decodings_decide(tmp_path: Path) -> None:
    """Protects the second decoding: its verdict, comparisons and claims stand beside those of the first, as one family of two
    times as many; a study at temperature 1 alone decides once."""
    runs(tmp_path, {"ppo": 0.8, "dpo": 0.3, "sft": 0.3})
    claim = {"id": "C", "text": "It helps.", "contrast": {"ppo": 1, "dpo": -1}, "margin": 0.02}
    both = study_results(study(claims=[claim]), tmp_path, command="")
    assert both.unit_verdict is not None and both.unit_verdict.winner == both.verdict.winner == "ppo"
    assert {pair.decoding for pair in both.unit_verdict.evidence} == {"unit"}
    assert [(pair.decoding, pair.family) for pair in both.comparisons] == [("chosen", 2.0), ("unit", 2.0)]
    assert [row.decoding for row in both.claims] == ["chosen", "unit"]
    alone = study_results(study(claims=[claim], evaluation={"temperatures": [1.0]}), tmp_path, command="")
    assert alone.unit_verdict is None and len(alone.claims) == len(alone.comparisons) == 1


def test_versions_are_those_of_the_runs(tmp_path: Path) -> None:
    """Protects the way back from a number to the code that made it: a report written anew by other code names the runs', and
    both where a study was continued by a second one."""
    outcome = results_of(tmp_path)
    assert outcome.versions == {"python": "3.11", "revision": "commit-0, commit-1"}


@pytest.mark.parametrize("arms", [("ppo", "dpo", "sft"), ("dpo",)])
def test_what_no_run_measured_has_no_column(arms: Sequence[str], tmp_path: Path) -> None:
    """Protects the Behaviour table from columns of dashes: the KL and the entropy of arms that started from no policy are
    unknown. If one arm has them, the columns stay."""
    runs(tmp_path, {"ppo": 0.8, "dpo": 0.3, "sft": 0.3})
    for path in (path for name in arms for path in tmp_path.glob(f"seed-*/{name}/result.json")):
        result = json.loads(path.read_text())
        result["evaluation"]["unit"]["kl"] = {"estimate": None, "estimator": "none", "entropy": None}
        write_json(path, result)
    outcome = study_results(study(), tmp_path, command="")
    assert {"kl", "entropy"} & {measure.name for measure in outcome.metrics} == (
        set() if len(arms) == 3 else {"kl", "entropy"}
    )
    assert {"length", "truncated"} <= {measure.name for measure in outcome.metrics}


def test_a_headline_counts_many(tmp_path: Path) -> None:
    """Protects the headline: seven equal arms are counted, and named where the report lists them."""
    arms = {f"dpo-{n}": {"method": "dpo", "init": "stage:sft"} for n in range(7)}
    runs(tmp_path, dict.fromkeys(arms, 0.3))
    outcome = study_results(study(arms=arms, comparisons=[]), tmp_path, command="")
    assert (
        outcome.verdict.sentence.endswith("does not differ significantly from any of the 6 others.")
        and len(outcome.verdict.tied) == 6
    )


def test_a_diverged_run_counts_as_nothing_solved(tmp_path: Path) -> None:
    """Protects from dropping failures: one of five runs diverged, so that the mean is 4/5 of the others', and the report
    says so."""
    outcome = results_of(tmp_path, diverged=("ppo", 0))
    arm = next(arm for arm in outcome.arms if arm.name == "ppo")
    values = [row for row in arm.measures if row.metric == "pass@1" and not row.level and row.decoding == "chosen"]
    assert values[0].value.estimate == pytest.approx(0.85 * 4 / 5, abs=0.01)
    assert [run.diverged for run in arm.runs] == [True, False, False, False, False]
    assert any("1 of 5 runs diverged" in caveat for caveat in outcome.caveats)


def test_an_arm_that_always_diverges_does_not_take_the_report_with_it(tmp_path: Path) -> None:
    """Protects the others' results: every seed of dpo diverged; it is shown at 0 and ppo wins."""
    runs(tmp_path, {"ppo": 0.8, "sft": 0.3})
    for seed in range(SEEDS):
        write(tmp_path / f"seed-{seed}" / "dpo", "dpo", 0.0, seed=seed, diverged=True)
    outcome = study_results(study(), tmp_path, command="")
    assert outcome.verdict.winner == "ppo"
    assert any("5 of 5 runs diverged" in caveat for caveat in outcome.caveats)


def test_stages_are_part_of_what_an_arm_spent(tmp_path: Path) -> None:
    """Protects the cost columns: 100 FLOP of its own and 1000 of the SFT stage that it needs."""
    outcome = results_of(tmp_path)
    arm = next(arm for arm in outcome.arms if arm.name == "dpo")
    assert {run.spent.flops for run in arm.runs} == {1100.0}
    assert {run.spent.trained_tokens for run in arm.runs} == {10.0}
    assert arm.runs[0].curve[0].flops == 1050.0


@pytest.mark.parametrize("start", [{}, {"init": "stage:sft"}], ids=["alone", "beside-the-baseline"])
def test_a_policy_from_elsewhere_has_no_known_cost(tmp_path: Path, start: dict[str, str]) -> None:
    """Protects from invented budgets: what another program trained is compared, its spending is unknown. The stage from
    which its KL is measured (1000 FLOP, 9 tokens) is not its own either."""
    arms = {"theirs": {"policy": "elsewhere", **start}, "dpo": {"method": "dpo"}}
    runs(tmp_path, {"theirs": 0.5, "dpo": 0.5})
    outcome = study_results(study(arms=arms, comparisons=[]), tmp_path, command="")
    arm = next(arm for arm in outcome.arms if arm.name == "theirs")
    assert arm.origin == "elsewhere"
    assert arm.runs[0].spent == Spent()
    assert mean_used(gather(planned_runs(study(arms=arms, comparisons=[]), tmp_path))["theirs"]) is None


def test_unfinished_studies_report_what_is_there(tmp_path: Path) -> None:
    """Protects long studies: an arm with fewer seeds is compared on those it has, and the page says so."""
    runs(tmp_path, {"ppo": 0.8, "dpo": 0.3, "sft": 0.3})
    (tmp_path / "seed-4" / "ppo" / "result.json").unlink()
    outcome = study_results(study(), tmp_path, command="")
    assert any("4 of 5 seeds" in caveat for caveat in outcome.caveats)
    assert outcome.comparisons[0].preliminary


@pytest.mark.parametrize("place", ["held_out", "validation"])
def test_an_evaluator_no_better_than_a_coin_cannot_rank(tmp_path: Path, place: str) -> None:
    """Protects from ranking by noise: 55 of 100 held-out pairs (Wilson .452 to .644) do not exclude one half. Where the
    test split has no pairs, the validation pairs decide."""
    spec = study(
        evaluator={"kind": "reward-model", "model": {"path": "stage:rm"}},
        stages={"sft": {"method": "sft"}, "rm": {"method": "rm"}},
    )
    for seed in range(SEEDS):
        stage = tmp_path / f"seed-{seed}" / "stages" / "rm"
        stage.mkdir(parents=True)
        write_json(stage / "result.json", written(**{"product": "reward_model", "held_out": None, place: COIN}))
    outcome = results_of(tmp_path, spec)
    assert outcome.verdict.winner is None
    assert outcome.verdict.sentence.startswith("Cannot rank: the evaluator orders 55.0%")
    assert not outcome.evaluators[0].can_rank


def test_the_accuracy_of_an_evaluator_from_elsewhere_is_read_or_said_to_be_unknown(tmp_path: Path) -> None:
    """Protects from an evaluator that is trusted without a word. A run of `preflab train` has measured its reward model: 55
    of 100 pairs are no evidence. A model without a run has no measurement, and the report says so."""
    for name in ("theirs", "mine"):
        (tmp_path / name / "final").mkdir(parents=True)
    write_json(tmp_path / "mine" / "result.json", written(product="reward_model", held_out=COIN))
    write_json(tmp_path / "mine" / "manifest.json", {"format": 1, "spec": {}})
    specs = {
        name: study(evaluator={"kind": "reward-model", "model": {"path": str(tmp_path / name / "final")}})
        for name in ("theirs", "mine")
    }
    described = {
        name: describe_evaluator(spec, name, spec.evaluators["reward-model"], tmp_path) for name, spec in specs.items()
    }
    assert described["theirs"].accuracy is None and described["theirs"].can_rank
    assert described["theirs"].description.endswith("Its accuracy on held-out pairs is not known.")
    mine = described["mine"]
    assert mine.accuracy is not None and mine.accuracy.estimate == pytest.approx(0.55) and not mine.can_rank
    assert "not known" not in mine.description


def test_wilson() -> None:
    """Protects the interval: 55 of 100, z = 1.96: centre (.55 + .0192)/(1.0384) = .5481, half .0957."""
    low, high = wilson_interval(0.55, 100)
    assert low == pytest.approx(0.4524, abs=5e-4)
    assert high == pytest.approx(0.6438, abs=5e-4)


def test_differences_from_the_defaults() -> None:
    """Protects "specs as a diff": only what differs from the method's defaults, nested fields by their dotted name."""
    ppo = study().arms["ppo"].method
    differences = {row.field: (row.default, row.value) for row in setting_differences(ppo, type(ppo)())}
    assert differences == {"clip": (0.2, 0.3), "optim.learning_rate": (1e-5, 1.0)}


def test_an_arm_that_never_saw_a_reward_is_said_first(tmp_path: Path) -> None:
    """Protects from reading a result of no training signal: a run whose samples were judged and never passed is named apart
    from the caveats; one sample that passed, or no judge at all, says nothing."""
    runs(tmp_path, {"ppo": 0.8, "dpo": 0.3, "sft": 0.3})
    for seed in range(SEEDS):
        path = tmp_path / f"seed-{seed}" / "ppo" / "metrics.jsonl"
        shares = {"verdict/failed": 1.0} if seed else {"verdict/failed": 0.9, "verdict/passed": 0.1}
        rows = [json.loads(line) | shares for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = study_results(study(caveats=["another"]), tmp_path, command="c")
    assert outcome.unrewarded == (
        "ppo never received a reward: in 4 of 5 runs no sample passed its tests during training.",
    )
    assert "another" in outcome.caveats
    assert "The judge's verdicts on the samples" in write_reports_of(tmp_path)


def write_reports_of(directory: Path) -> str:
    manifest = {"format": 1, "study": study().model_dump(mode="json"), "command": "c", "failures": []}
    write_json(directory / "study.json", manifest)
    return report_study(directory)[1].read_text()


def test_the_report_can_be_written_again(tmp_path: Path) -> None:
    """Protects `preflab report`: from the directory alone, the same bytes twice."""
    runs(tmp_path, {"ppo": 0.8, "dpo": 0.3, "sft": 0.3})
    write_json(
        tmp_path / "study.json", {"format": 1, "study": study().model_dump(mode="json"), "command": "c", "failures": []}
    )
    pages = [report_study(tmp_path)[1].read_bytes() for _ in range(2)]
    assert pages[0] == pages[1]
    assert b"ppo won" in pages[0]


def test_the_notes_of_all_data_are_caveats(tmp_path: Path) -> None:
    """Protects what data with a filter, or of a stage alone, do not say: each note of any run stands in the report once, with
    the names of the runs that it concerns unless every arm has it."""
    runs(tmp_path, {"ppo": 0.8, "dpo": 0.3, "sft": 0.3})
    for pattern, notes in {
        "seed-*/dpo": ["3 pairs were dropped", "filter a"],
        "seed-1/ppo": ["3 pairs were dropped", "filter a", "cut"],
        "seed-*/stages/sft": ["3 pairs were dropped", "order alone"],
    }.items():
        for path in tmp_path.glob(f"{pattern}/result.json"):
            write_json(path, {**json.loads(path.read_text()), "data_notes": notes})
    caveats = study_results(study(), tmp_path, command="c").caveats
    assert caveats[-4:] == ("3 pairs were dropped", "ppo, dpo: filter a", "ppo: cut", "stage sft: order alone")


def test_an_arm_without_its_measurements_is_named(tmp_path: Path) -> None:
    """Protects from a KeyError in a report, and from a run that silently counts as diverged: the file and the field."""
    runs(tmp_path, {"ppo": 0.8, "dpo": 0.3, "sft": 0.3})
    path = tmp_path / "seed-1" / "ppo" / "result.json"
    result = json.loads(path.read_text())
    del result["evaluation"]
    write_json(path, result)
    with pytest.raises(UserError, match=f"^{path} is damaged: `evaluation` is missing. Restore it"):
        study_results(study(), tmp_path, command="")


def test_directories_of_before_are_still_reported(tmp_path: Path) -> None:
    """Protects old results: a study file with one `evaluator`, and runs measured by a reward model that wrote scores alone.
    The reward is their mean, at .85 and .35, and the verdict is that of the scores. Such a finished run is done."""
    runs(tmp_path, {"ppo": 0.8, "dpo": 0.3, "sft": 0.3})
    for path in tmp_path.glob("seed-*/*/result.json"):
        result = json.loads(path.read_text())
        for part in (result["evaluation"]["chosen"], result["evaluation"]["unit"]):
            part["measures"] = {name: part["measures"][name] for name in ("score", "length", "truncated")}
            for problem in part["problems"].values():
                problem["measures"] = {}
        write_json(path, result)
    data = study().model_dump(mode="json")
    del data["evaluators"]
    data["evaluator"] = {"kind": "reward-model", "model": {"kind": "learned", "path": "rm", "mean": 0.0, "std": 1.0}}
    write_json(tmp_path / "study.json", {"format": 1, "study": data, "command": "c", "failures": []})
    results, page = report_study(tmp_path)
    assert (results.headline, results.score, results.verdict.winner) == ("reward", "reward", "ppo")
    assert results.verdict.sentence.startswith(
        "ppo won under equal compute: reward 0.85, ahead of the next, dpo, by 0.5"
    )
    assert [evaluator.name for evaluator in results.evaluators] == ["reward-model"]
    assert "mean reward" in page.read_text()

    run = next(run for run in planned_runs(parse_spec(Study, data, where="old"), tmp_path) if run.name == "ppo")
    spec = run.spec.model_dump(mode="json")
    del spec["evaluators"], spec["main_evaluator"]
    manifest = {"format": 1, "spec": {**spec, "evaluator": data["evaluator"]}}
    write_json(run.directory / "manifest.json", manifest)
    assert is_done(run)
    write_json(run.directory / "manifest.json", {**manifest, "spec": {**spec, "evaluator": "hidden-tests"}})
    assert not is_done(run)


def test_a_further_evaluator_may_decide(tmp_path: Path) -> None:
    """Protects the headline on the second evaluator, and values that are better when lower: a run that diverged has the most
    words of any run, not 0. ppo has 2 words and one run of five diverged, dpo has 6: (4 x 2 + 6) / 5 = 2.8."""
    runs(tmp_path, {"ppo": 0.8, "dpo": 0.3, "sft": 0.3}, diverged=("ppo", 0))
    for path in tmp_path.glob("seed-*/*/result.json"):
        result = json.loads(path.read_text())
        words = 2.0 if result["name"] == "ppo" else 6.0
        for part in (result["evaluation"]["chosen"], result["evaluation"]["unit"]) if "evaluation" in result else ():
            for problem in part["problems"].values():
                problem["measures"] |= {"brief/short": problem["scores"][0], "brief/words": words}
            part["measures"] |= {"brief/short": 1.0, "brief/words": words}
        write_json(path, result)
    brief = {"kind": f"{__name__}:Brief"}
    outcome = study_results(
        study(evaluators={"hidden-tests": "hidden-tests", "brief": brief}, headline="brief/short"), tmp_path, command=""
    )
    assert (
        (outcome.headline, outcome.score)
        == ("brief/short", "brief/short")
        == (outcome.metrics[0].name, outcome.comparisons[0].metric)
    )
    values = {row.metric: row.value for row in outcome.arms[0].measures if (row.level, row.decoding) == ("", "chosen")}
    assert values["brief/words"].estimate == pytest.approx(2.8)
    assert [row.name for row in outcome.metrics[:5]] == ["brief/short", "pass@1", "pass@5", "brief/words", "length"]
    assert outcome.metrics[3].better == "lower"
    agreement = {row.name: row.agreement for row in outcome.evaluators}
    assert agreement["brief"] is None  # the main evaluator is not compared with itself
    assert agreement["hidden-tests"] is not None and agreement["hidden-tests"].estimate == 1.0


class Brief(EvaluatorSpec):
    """How short answers are."""

    kind: str = "brief"

    def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
        return (Measure(name="short", share=True, better="higher"), Measure(name="words", better="lower"))

    def open(self, context: Any) -> Any:
        raise NotImplementedError("only its measures are read")


@pytest.mark.parametrize("registry", [TESTBEDS, EVALUATORS, PAIRWISE_EVALUATORS])
def test_a_report_describes_its_testbed_and_evaluator(registry: Registry) -> None:
    """Protects a reader who does not know them: the words that the report prints of a testbed or an evaluator are a sentence
    about it, and not the list of its settings."""
    for name in registry.known:
        words = read_first_paragraph(registry.load(name))
        assert words and not words.startswith("`") and words.endswith("."), name
        assert "settings of" not in words, name
