"""`preflab compare`: policies trained anywhere, measured and reported as a study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import preflab
from preflab.errors import UserError
from preflab.models import load, locate
from preflab.models.heads import make_reward_model
from preflab.models.spec import ModelSpec, TinyShape
from preflab.spec import Context
from preflab.study.compare import comparison_study, name_policies
from preflab.testbeds import TESTBEDS

from .running import run

SMALL = {"kind": "minicode", "train": 24, "validation": 5, "test": 8}
MEASURING = ["--samples", "2", "--k", "1", "--temperatures", "1", "--max-new-tokens", "6", "--prompts", "8"]
OPTIONS = [
    *("--testbed", "minicode", "--testbed.train", "24", "--testbed.validation", "5", "--testbed.test", "8"),
    *MEASURING,
]


def save_policy(place: Path, seed: int) -> Path:
    with TESTBEDS.parse(SMALL).open(Context()) as testbed:
        shape = TinyShape(width=16, inner=16, layers=1, heads=2, words=testbed.words())
    load.load_model(ModelSpec(name="tiny", tiny=shape), seed=seed).save(place)
    return place


def test_policies_from_anywhere_get_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the whole command: a directory, another one and a hub name are measured on the same prompts and compared with
    paired intervals over problems, in the files of a study; the same command measures nothing again, and a policy that has
    changed since is refused."""
    places = [save_policy(tmp_path / name / "final", seed) for seed, name in enumerate(("dpo", "ppo", "hub"))]
    for module in (locate, load):
        monkeypatch.setattr(module, "fetch_from_hub", lambda spec, *_: places[2])
    words = ["compare", places[0], places[1], "theirs=some/model", *OPTIONS, "--baseline", "dpo"]
    code, out, err = run(*words, "--output", tmp_path / "out", "--json", "-q", capsys=capsys)
    assert code == 0, err
    results = json.loads(out)
    assert [arm["name"] for arm in results["arms"]] == ["dpo", "ppo", "theirs"]
    assert [arm["baseline"] for arm in results["arms"]] == [True, False, False]
    assert {(each["first"], each["second"]) for each in results["comparisons"]} == {
        ("dpo", "ppo"),
        ("dpo", "theirs"),
        ("ppo", "theirs"),
    }
    assert all(each["problems"] == 8 and each["seeds"] == 1 for each in results["comparisons"])
    assert all(each["low"] <= each["estimate"] <= each["high"] for each in results["comparisons"])
    assert any("The intervals are over the problems alone" in each for each in results["caveats"])
    assert (tmp_path / "out" / "report.html").exists() and (tmp_path / "out" / "results.csv").exists()
    written = (tmp_path / "out" / "seed-0" / "ppo" / "result.json").stat().st_mtime_ns
    assert run(*words, "--output", tmp_path / "out", "--json", "-q", capsys=capsys)[0] == 0
    assert (tmp_path / "out" / "seed-0" / "ppo" / "result.json").stat().st_mtime_ns == written
    save_policy(places[1], 9)
    code, _, err = run(*words, "--output", tmp_path / "out", "-q", capsys=capsys)
    assert code == 2 and f"{places[1]} has changed since" in err and err.count("\n") == 1
    code, out, err = run(*words, "--output", tmp_path / "out", "--plan", "--json", "-q", "--fresh", capsys=capsys)
    assert code == 0, err
    assert [row["method"] for row in json.loads(out)["rows"]] == ["measured only"] * 3


def test_against_the_chosen_answers_of_the_data(tmp_path: Path) -> None:
    """Protects "against chosen" in a report: arms meet the data's preferred answers by a reward model, and the results and the
    page name both sides."""
    rows = [{"prompt": f"ask {n}", "chosen": "yes", "rejected": "no"} for n in range(6)]
    paths = {name: tmp_path / f"{name}.jsonl" for name in ("data", "validation", "test")}
    for name, path in paths.items():
        path.write_text("".join(json.dumps({**row, "prompt": f"{name} {row['prompt']}"}) + "\n" for row in rows))
    policy = load.load_model(ModelSpec(name="tiny", tiny=TinyShape(width=16, inner=16, layers=1, heads=2)), seed=0)
    for name in ("one", "two"):
        policy.save(tmp_path / name)
    make_reward_model(policy, seed=1).save(tmp_path / "rm")
    scorer = {"path": str(tmp_path / "rm"), "trained_on": "something else"}
    outcome = preflab.compare_policies(
        {name: str(tmp_path / name) for name in ("one", "two")},
        testbed={"kind": "jsonl", **{name: str(path) for name, path in paths.items()}},
        output=tmp_path / "out",
        evaluator={"kind": "reward-model", "model": scorer},
        evaluation={"samples": 1, "k": [], "temperatures": [1.0], "max_new_tokens": 4},
        pairwise={"chosen": {"evaluator": {"kind": "by-reward", "model": scorer}, "against": "data:chosen"}},
    )
    assert outcome.failures == ()
    assert [(each.first, each.second) for each in outcome.results.pairwise] == [
        ("one", "data:chosen"),
        ("two", "data:chosen"),
    ]
    assert "one against data:chosen" in (tmp_path / "out" / "report.md").read_text()
    (difference,) = outcome.results.comparisons
    assert (difference.estimate, difference.seed_sd) == (0.0, None) and difference.low is not None
    won = outcome.results.pairwise[0].win_rate
    assert won.low is not None and won.high is not None and won.df == 5 and "over problems alone" in won.reason
    again = preflab.report_study(tmp_path / "out")[0]
    assert again.pairwise == outcome.results.pairwise


def test_names() -> None:
    """Protects reports: a policy is called as its run or its model, or as the user says, and no two are called the same."""
    assert name_policies(["runs/dpo/final", "runs/ppo", "org/model-1", "x=runs/dpo/final"]) == {
        "dpo": "runs/dpo/final",
        "ppo": "runs/ppo",
        "model-1": "org/model-1",
        "x": "runs/dpo/final",
    }
    with pytest.raises(UserError, match="Two policies are called 'dpo'"):
        name_policies(["a/dpo", "b/dpo"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a/b"], "Give at least two policies"),
        (["a/b", "c/d", "--baseline", "e"], "--baseline names the policy 'e'"),
        (["a/b", "c/d", "--testbed", "jsonl", "--data", "x.jsonl"], "has no default evaluator"),
        (["a/b", "c/d", "--seed", "1"], "has no option '--seed'"),
        (["x=/nowhere/x", "y=/nowhere/y", *OPTIONS], "There is no policy '/nowhere/x': it is neither a directory"),
    ],
)
def test_mistakes(tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects users: what is missing is one line, before anything is measured."""
    code, out, err = run("compare", *words, "--output", tmp_path / "out", capsys=capsys)
    assert (code, out) == (2, "")
    assert said in err and err.count("\n") == 1


def test_the_function_takes_the_same(tmp_path: Path) -> None:
    """Protects the Python interface: the study of `compare_policies` has the fields of a study file."""
    policies = {"one": str(save_policy(tmp_path / "one", 0)), "two": str(save_policy(tmp_path / "two", 1))}
    study = comparison_study(policies, testbed=SMALL, baseline="one", evaluation={"samples": 2})
    assert [arm.policy for arm in study.arms.values()] == list(policies.values()) and study.evaluation.samples == 2
    with pytest.raises(UserError, match="at least two"):
        preflab.compare_policies({"one": "x"}, testbed=SMALL, output=tmp_path / "out")
