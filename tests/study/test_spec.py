"""A study as data: presets, what runs follow from it, what is charged."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.written import COUNTS, written

from preflab.arm.spec import Job, input_paths, saved_models
from preflab.cli.study import choose_size
from preflab.errors import UserError
from preflab.rewards.learned_cost import LearnedCost
from preflab.spec import parse_spec
from preflab.study.load import load_study, merge_settings, preset_names, study_data
from preflab.study.plan import JOB_FIELDS, grid_points, planned_runs, planned_trials, with_settings
from preflab.study.runner import charged_spec
from preflab.study.spec import Study, all_stages_needed
from preflab.testbeds import TESTBEDS
from preflab.train.files import write_json

DATA = {
    "name": "x",
    "testbed": "minicode",
    "seeds": 2,
    "budget": {"unit": "compute", "amount": 1e9},
    "stages": {
        "sft": {"method": "sft"},
        "pairs": {"method": "pairs", "init": "stage:sft", "reward": "tests"},
        "rm": {"method": "rm", "init": "stage:sft", "preferences": "stage:pairs"},
        "idle": {"method": "sft"},
        "harm": {"method": "cost"},
    },
    "arms": {
        "ppo-rm": {
            "method": "ppo",
            "init": "stage:sft",
            "preferences": "stage:pairs",
            "reward": {"kind": "learned", "path": "stage:rm"},
        },
        "sft": {"policy": "stage:sft", "init": "stage:sft", "baseline": True},
    },
}


def study(**changes: object) -> Study:
    return parse_spec(Study, {**DATA, **changes}, where="test")


def test_every_preset_reads() -> None:
    """Protects what is shipped: every preset and every size it offers is a valid study."""
    for name in preset_names():
        assert load_study(name).arms
    assert load_study("hh", "paper").arms["ppo"].method.rollouts == 512
    assert load_study("hh-smollm2") == load_study("hh")  # its old name
    assert load_study("saferlhf-iter") == load_study("saferlhf")  # it is a part of it


TRAINING_PROMPTS = {"hh": 169_352, "hh-ablation": 169_352, "hh-beta": 169_352, "hh-coverage": 169_352}
TRAINING_PROMPTS |= {"saferlhf": 44_600, "saferlhf-models": 44_600, "saferlhf-filters": 44_600}


@pytest.mark.parametrize("name", TRAINING_PROMPTS)
def test_ppo_makes_five_epochs_of_the_prompts_of_part_a(name: str) -> None:
    """Protects the paper's 5 epochs on dialogue: more of them would give PPO more training than the paper's. helpful-base, on
    which the arm ppo-part trains, has 46,189 of the pairs."""
    spec = load_study(name, "paper")
    ppo = {arm: each.method for arm, each in spec.arms.items() if each.method and each.method.kind_name == "ppo"}
    assert ppo
    for arm, method in ppo.items():
        prompts = 0.5 * 0.9 * (46_189 if arm == "ppo-part" else TRAINING_PROMPTS[name])
        assert method.steps * method.rollouts / prompts == pytest.approx(5, rel=0.005)


def test_equal_rows_of_the_papers_tables_are_equal_arms() -> None:
    """Protects Tables 2, 6 and 13, which share rows with the same figures: the arms have one start, one set of pairs, one
    reward model and one method."""
    table2, table6, table13 = (
        load_study(name, "paper") for name in ("saferlhf", "saferlhf-models", "saferlhf-filters")
    )

    def described(spec: Study, arm: str) -> list[object]:
        """What an arm is trained with, with the stages it names written out, whatever their names."""
        job = spec.arms[arm]
        stages = [spec.stages[name] for name in all_stages_needed(spec, job)]
        return [(each.method, each.testbed or spec.testbed) for each in (*stages, job)]

    assert described(table6, "dpo-first") == described(table2, "dpo-safe-both-filters")
    assert described(table6, "dpo-iter-first") == described(table2, "dpo-iter-4")
    assert described(table6, "ppo-first") == described(table2, "ppo")
    ours, theirs = described(table13, "ppo-none"), described(table2, "ppo")
    assert [kind.kind_name for kind, _ in ours] == [kind.kind_name for kind, _ in theirs]  # type: ignore[misc]
    assert ours[-1][1] == theirs[-1][1] and table13.arms["ppo-none"].init == "stage:sft"  # type: ignore[index]


def test_the_claims_of_the_papers_tables() -> None:
    """Protects what the studies ask: each has claims where the paper states some, and a question about two losses is decided
    by their difference."""
    asked = {name: [claim.name for claim in load_study(name).claims] for name in preset_names()}
    for name in ("hh-ablation", "code-ablation", "code-contests-ablation"):
        assert asked[name] == [f"C6 ({part})" for part in ("advantage normalisation", "large batch", "reference EMA")]
    assert len(asked["saferlhf-models"]) == 4 and len(asked["saferlhf-filters"]) == 2
    losses = next(claim for claim in load_study("hh-coverage").claims if claim.part == "more than PPO")
    assert losses.contrast == {"dpo-all": 1, "dpo-part": -1, "ppo-all": -1, "ppo-part": 1}


@pytest.mark.parametrize("name", TRAINING_PROMPTS)
def test_the_papers_own_evaluators_are_a_size(name: str) -> None:
    """Protects figures that are compared with the paper's: the size differs from `paper` in its evaluator alone, dHelp is
    relative to Beaver in both, and no stage trains an evaluator that is not used."""
    paper, own = load_study(name, "paper"), load_study(name, "paper-evaluator")
    models = saved_models(own.evaluators[own.main_evaluator])
    wanted = ["PKU-Alignment/beaver-7b-v1.0-reward", "PKU-Alignment/beaver-7b-v1.0-cost"]
    assert list(models) == (wanted if "safer" in name else ["OpenAssistant/oasst-rm-2-pythia-6.9b-epoch-1"])
    assert own.arms == paper.arms and own.stages == paper.stages
    assert own.evaluation == paper.evaluation and own.headline == paper.headline
    for study in (paper, own):
        relative = study.evaluators[study.main_evaluator].relative
        assert [each.reference for each in relative] == ["beaver"] * ("safer" in name)
    assert not {"evaluator", "helpfulness", "harm"} & {run.directory.name for run in planned_runs(own, Path("home"))}


def test_every_size_of_every_preset_loads_under_a_name_of_its_own() -> None:
    """Protects both sizes: one directory cannot hold two of them, and what is said of the small is not said of the large."""
    offered = [(name, size) for name in preset_names() for size in study_data(name).get("sizes") or {}]
    assert ("apps", "paper") in offered and ("code-batch-size", "paper") in offered
    for name, size in offered:
        small, large = load_study(name, "smoke"), load_study(name, size)
        assert (small.name, large.name) == (name, f"{name}-{size}")
        assert not any("mean nothing" in caveat for caveat in large.caveats)


def test_the_papers_size_is_the_default_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for here, size in (("cuda", "paper"), ("cpu", "smoke")):
        monkeypatch.setattr("preflab.arm.open.pick_device", lambda name, here=here: here)
        assert choose_size("apps") == size
        assert choose_size("quickstart") == "smoke"  # it offers no other


def test_a_headline_that_is_not_measured_is_refused() -> None:
    """Protects a study from ending without the measure that decides it."""
    data = {"name": "x", "testbed": "minicode", "arms": {"sft": {"method": "sft"}}}
    with pytest.raises(UserError, match=r"`headline` is 'pass@10', which is not measured. Did you mean 'pass@1'"):
        parse_spec(Study, {**data, "headline": "pass@10"}, where="test")
    kept = parse_spec(
        Study, {**data, "headline": "10@20", "evaluation": {"samples": 20, "submissions": [[10, 20]]}}, where="test"
    )
    assert kept.headline == "10@20"


def test_settings_of_the_testbed_from_the_command_line() -> None:
    """Protects `--public-first`: it reaches stages and arms with data of their own, and is checked like a study file."""
    study = load_study("code-contests", "smoke").with_testbed(public_first=2)
    assert study.testbed.public_first == 2
    with pytest.raises(UserError, match="`public_first`"):
        study.with_testbed(public_first=-1)
    with pytest.raises(UserError, match="--public-first does not apply"):
        load_study("quickstart").with_testbed(public_first=1)


def test_the_data_of_another_testbed_stay() -> None:
    """Protects SFT(Alpaca): `--data` names the data of the study's testbed; a stage with data of its own, of another kind or
    of another source, keeps them, and the evaluator's part of the same source moves with the study."""
    own = {"kind": "safe_rlhf", "data": "a"}
    testbeds = {
        "evaluator": {**own, "part": "evaluator"},
        "alpaca": {"kind": "jsonl", "data": "alpaca.jsonl"},
        "answers": {**own, "data": "safe.jsonl"},
        "code": {"kind": "minicode"},
    }
    stages = {name: {"testbed": testbed, "method": "rm"} for name, testbed in testbeds.items()}
    data = {"name": "x", "testbed": own, "stages": stages, "arms": {"sft": {"method": "sft"}}}
    study = parse_spec(Study, data, where="test").with_testbed(data="b")
    assert study.testbed.data == study.stages["evaluator"].testbed.data == "b"
    for name in ("alpaca", "answers", "code"):
        assert study.stages[name].testbed == TESTBEDS.parse(testbeds[name])


def test_data_of_a_stage_from_the_command_line() -> None:
    """Protects `saferlhf` on local files: Alpaca's file is named apart from SafeRLHF's, and both base models read it."""
    study = (
        load_study("saferlhf-models", "smoke").with_testbed(data="pku").with_stage_data("sft-alpaca-first", "a.json")
    )
    assert study.testbed.data == study.stages["harm"].testbed.data == study.arms["dpo-first"].testbed.data == "pku"
    assert study.stages["sft-alpaca-first"].testbed.data == study.stages["sft-alpaca-second"].testbed.data == "a.json"
    for stage, words in (
        ("harm", "reads the data of the study"),
        ("rm-first", "reads the data of the study"),
        ("ghost", "no stage"),
    ):
        with pytest.raises(UserError, match=words):
            study.with_stage_data(stage, "b")


def test_stages_run_once_per_seed_and_only_where_used() -> None:
    """Protects pairing: two seeds, each with its own stages before its arms; a stage that nothing needs does not run."""
    planned = [(task.seed, task.name, task.spec.measure) for task in planned_runs(study(), Path("d"))]
    one = [("sft", "none"), ("pairs", "none"), ("rm", "none"), ("ppo-rm", "test"), ("sft", "test")]
    assert planned == [(seed, *pair) for seed in range(2) for pair in one]


def test_needs_are_transitive_and_ordered() -> None:
    """Protects charging: the stages that `rm` needs are charged to every run that uses it, each stage once."""
    assert all_stages_needed(study(), study().arms["ppo-rm"]) == ["sft", "pairs", "rm"]


def test_shared_stages_are_charged(tmp_path: Path) -> None:
    """Protects the budget: 1 + 20 + 300 FLOP of the three stages are charged before the arm begins."""
    for name, flops in (("sft", 1.0), ("pairs", 20.0), ("rm", 300.0)):
        (tmp_path / "seed-0" / "stages" / name).mkdir(parents=True)
        write_json(tmp_path / "seed-0" / "stages" / name / "result.json", written(counts=COUNTS | {"flops": flops}))
    task = next(task for task in planned_runs(study(), tmp_path) if task.name == "ppo-rm")
    assert charged_spec(task)["budget"]["charged"] == 321.0


def test_arm_and_stage_of_one_name_do_not_share_a_directory() -> None:
    """Protects the SFT stage from the SFT arm that measures it."""
    places = [task.directory for task in planned_runs(study(), Path("d"))]
    assert len(set(places)) == len(places)


def test_narrowing() -> None:
    """Protects `--arms` and `--seeds`: fewer arms, their comparisons only; an unknown arm and no seed at all
    are refused."""
    whole = study(comparisons=[["ppo-rm", "sft"]])
    assert whole.narrowed(["sft"], 3).comparisons == ()
    assert whole.narrowed(seeds=3).seeds == 3
    with pytest.raises(UserError, match="ppo-rm"):
        whole.narrowed(["ppo-rn"])
    for seeds in (0, -1):
        with pytest.raises(UserError, match="at least one seed"):
            whole.narrowed(seeds=seeds)


def test_trials_are_equal_in_number_and_use_their_own_seed() -> None:
    """Protects fairness: every arm gets its trials, on a seed that the report does not use, on the validation split."""
    tuning = {"trials": 2, "spaces": {"ppo-rm": {"optim.learning_rate": [1, 2, 3], "kl_coefficient": [0.1]}}}
    planned = [(arm, settings, task) for arm, settings, task in planned_trials(study(tuning=tuning), Path("d"))]
    tried = [(settings, task) for arm, settings, task in planned if arm]
    assert [settings["optim.learning_rate"] for settings, _ in tried] == [1, 2]
    assert {task.seed for _, task in tried} == {1000}
    assert {task.spec.measure for _, task in tried} == {"validation"}
    assert tried[1][1].spec.method.optim.learning_rate == 2


def test_choices_spread_over_a_large_grid() -> None:
    """Protects the size of a search: 6 points of a 2 x 3 grid are the grid, 3 of them every other point."""
    space = {"a": (1, 2), "b": (1, 2, 3)}
    assert len(grid_points(space, 6)) == 6
    assert grid_points(space, 3) == [{"a": 1, "b": 1}, {"a": 1, "b": 3}, {"a": 2, "b": 2}]


def test_a_tuned_field_must_exist() -> None:
    """Protects tuning from a field that nobody reads."""
    with pytest.raises(UserError, match="learning_rate"):
        with_settings(study().arms["ppo-rm"], {"optim.learning_rat": 1.0}, where="tuning")


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"optim.learning_rate": [1e-4, []]}, "`optim.learning_rate`: Input should be a valid number"),
        ({"optim.learning_rat": [1e-4]}, "has no field 'optim.learning_rat'"),
    ],
)
def test_values_to_try_are_checked_with_the_file(space: dict[str, object], says: str, tmp_path: Path) -> None:
    """The message names the file, the arm and the field, before anything is planned."""
    file = tmp_path / "mine.json"
    write_json(file, {**DATA, "tuning": {"spaces": {"ppo-rm": space}}})
    with pytest.raises(UserError, match=re.escape(f"{file}: tuning.spaces.ppo-rm: ")) as refusal:
        load_study(str(file))
    assert says in str(refusal.value)


def test_merged() -> None:
    """Protects sizes: a patch replaces values at any depth, null included, and leaves the rest."""
    assert merge_settings({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None}}) == {"a": {"b": None, "c": 2}, "d": 3}


def test_another_kind_replaces_the_settings_of_the_old_one() -> None:
    """Protects sizes that run on other data: the settings of the old testbed are unknown to the new one. The same kind, and
    a patch that names none, are merged."""
    small = {"testbed": {"kind": "minicode", "train": 10}}
    other = {"testbed": {"kind": "apps", "data": "x"}}
    assert merge_settings(small, other) == other
    for patch in ({"test": 3}, {"kind": "minicode", "test": 3}):
        assert merge_settings(small, {"testbed": patch}) == {"testbed": {"kind": "minicode", "train": 10, "test": 3}}


def test_shipped_trials_are_what_the_arms_hold() -> None:
    """Protects the claim "tuned": in every preset that ships trials, each tuned arm has as many, or all that its space
    has, and at most one beyond each edge. The arm holds its best one."""
    for study in map(load_study, preset_names()):
        if study.tuning is None or not study.tuning.shipped:
            continue
        for name in study.tuning.spaces:
            tried = [trial for trial in study.tuning.shipped if trial.arm == name]
            (chosen,) = [trial for trial in tried if trial.chosen]
            space = study.tuning.spaces[name]
            allowed = min(study.tuning.trials, len(grid_points(space, 99)))
            assert allowed <= len(tried) / len(study.tuning.seeds) <= allowed + len(space)
            assert chosen.score == max(trial.score or 0.0 for trial in tried)
            assert with_settings(study.arms[name], chosen.settings, where=name).method == study.arms[name].method


ARM = {"method": "dpo", "init": "stage:sft"}


@pytest.mark.parametrize(
    ("arm", "says"),
    [
        (
            {"init": "stage:rm"},
            "`arms.x.init` is `stage:rm`, but the method rm of that stage makes a reward model. .* a policy.",
        ),
        ({"init": "stage:pairs"}, "`arms.x.init` is `stage:pairs`, but the method pairs of that stage makes pairs"),
        ({"policy": "stage:rm", "method": None}, "`arms.x.policy` is `stage:rm`, .* a reward model"),
        ({"preferences": "stage:sft"}, "`arms.x.preferences` is `stage:sft`, .* makes a policy. .* pairs or rankings"),
        ({"preferences": "stage:rm"}, "`arms.x.preferences` is `stage:rm`, .* makes a reward model"),
        ({"reward": {"kind": "learned", "path": "stage:sft"}}, "`arms.x.reward` is `stage:sft`, .* makes a policy"),
        ({"reward": {"kind": "ensemble", "models": ["stage:rm", "stage:pairs"]}}, "`arms.x.reward` is `stage:pairs`"),
        (
            {"reward": {"kind": "learned", "path": "stage:harm"}},
            "`arms.x.reward` is `stage:harm`, .* makes a cost model",
        ),
        (
            {"method": "ppo-lag", "reward": "tests", "cost": "stage:rm"},
            "`arms.x.cost` is `stage:rm`, .* a reward model",
        ),
        ({"method": "ppo-lag", "reward": "tests", "cost": "stage:sft"}, "`arms.x.cost` is `stage:sft`, .* a policy"),
        ({"method": "rm"}, "`arms.x`: the method rm makes a reward model, but a study compares policies"),
        ({"method": "pairs", "reward": "tests"}, "`arms.x`: the method pairs makes pairs"),
        ({"method": {"kind": "warm", "models": ["stage:rm", "stage:sft"]}}, "`arms.x.method` is `stage:sft`"),
    ],
)
def test_a_stage_of_the_wrong_kind_is_refused_with_the_file(arm: dict[str, object], says: str) -> None:
    """Protects hours of training: a stage that makes something else than its user needs is named when the file is read."""
    with pytest.raises(UserError, match=says):
        study(arms={"x": {**ARM, **arm}})


def test_a_cost_is_an_input_like_a_reward() -> None:
    """Protects planning, provenance and the check of stages: a cost's stage is needed by its arm, and a path alone means a
    saved cost model."""
    arm = {"method": "ppo-lag", "init": "stage:sft", "reward": "tests", "cost": "stage:harm"}
    made = study(arms={"x": arm})
    assert input_paths(made.arms["x"]) == ["stage:sft", "stage:harm"]
    assert all_stages_needed(made, made.arms["x"]) == ["sft", "harm"]
    again = parse_spec(Study, made.model_dump(mode="json"), where="again")
    assert again == made and again.arms["x"].cost == LearnedCost(path="stage:harm")
    by_function = study(arms={"x": arm | {"cost": {"kind": "function", "target": "math:fsum"}}})
    assert saved_models(by_function.arms["x"].cost) == ()


def test_every_field_of_a_job_reaches_its_run(tmp_path: Path) -> None:
    """Protects from a setting of a stage or an arm that the plan forgets: all of its fields are its run's."""
    assert {*JOB_FIELDS, "testbed", "model"} == set(Job.model_fields)
    made = study(arms={"x": {"method": "ppo-lag", "reward": "tests", "cost": "stage:harm"}})
    assert [run.spec.cost for run in planned_runs(made, tmp_path) if run.name == "x"] == [made.arms["x"].cost] * 2


def test_stages_and_evaluators_use_what_a_stage_makes() -> None:
    """Protects stages and evaluators in the same way as arms."""
    stages = {**DATA["stages"], "late": {"method": "sft", "init": "stage:rm"}}  # type: ignore[dict-item]
    with pytest.raises(UserError, match=r"`stages\.late\.init` is `stage:rm`"):
        study(stages=stages)
    model = {"kind": "learned", "path": "stage:sft"}
    with pytest.raises(UserError, match=r"`evaluators\..*` is `stage:sft`, .* makes a policy"):
        study(evaluator={"kind": "reward-model", "model": model})
    duel = {"evaluator": {"kind": "by-reward", "model": model}, "pairs": [["ppo-rm", "sft"]]}
    with pytest.raises(UserError, match=r"`pairwise\.duel\.evaluator` is `stage:sft`"):
        study(pairwise={"duel": duel})


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ([["sft", "sft"]], "the arm 'sft' with itself"),
        ([["ppo-rm", "sft"], ["sft", "ppo-rm"]], "the pair of 'sft' and 'ppo-rm' twice"),
    ],
)
def test_a_comparison_is_named_once(pairs: list[list[str]], says: str) -> None:
    """Protects the adjusted p-values, which grow with each comparison."""
    with pytest.raises(UserError, match=says):
        study(comparisons=pairs)


def test_tuned_values_are_those_of_an_arm() -> None:
    """Protects the table of trials from values of an arm that the study does not have, such as a misspelt one."""
    trial = {"arm": "ppo", "settings": {"kl_coefficient": 0.1}, "seed": 1000}
    with pytest.raises(UserError, match=r"`tuning\.shipped` names the arm 'ppo'\. Did you mean 'ppo-rm'"):
        study(tuning={"spaces": {"ppo-rm": {"kl_coefficient": [0.1]}}, "shipped": [trial]})


def test_a_study_can_be_repeated_with_other_seeds() -> None:
    """Protects a repetition: all runs have the seeds from the first one on, and those of the tuning are refused."""
    again = study(tuning={"spaces": {"ppo-rm": {"kl_coefficient": [0.1]}}}).with_first_seed(7)
    assert {run.seed for run in planned_runs(again, Path("d"))} == {7, 8}
    assert {run.directory.parts[1] for run in planned_runs(again, Path("d"))} == {"seed-7", "seed-8"}
    assert again.until_seed(1).seed_numbers == range(7, 8)
    with pytest.raises(UserError, match=r"`tuning\.seeds` contains 1000, which the study's runs also use"):
        again.with_first_seed(999)
    with pytest.raises(UserError, match="Seeds are 0 or more"):
        again.with_first_seed(-1)
