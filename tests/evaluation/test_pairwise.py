"""Two policies' answers compared: the built-in rule, what a match reads and writes, win rates by hand, a study with one."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.test_several import blocks

from preflab.analysis.matches import pairwise_result
from preflab.analysis.record import EvaluatorResult, read_results
from preflab.arm.match import Match, match_directory
from preflab.arm.play import execute_match
from preflab.cli import run_command
from preflab.errors import UserError
from preflab.evaluation.by_reward import OpenByReward
from preflab.evaluation.pairwise import LOSS, TIE, WIN, WIN_RATE, PairwiseEvaluator, PairwiseEvaluatorSpec
from preflab.rewards.base import Reward
from preflab.spec import Context, parse_spec
from preflab.study.plan import planned_matches
from preflab.study.spec import Study
from preflab.testbeds.minicode.testbed import Minicode
from preflab.train.files import write_json
from preflab.types import Completion, Prompt, Turn

SIZES = {"kind": "minicode", "train": 4, "validation": 2, "test": 2}
LONGER = {"kind": f"{__name__}:Longer"}
PLAIN: dict[str, Any] = {
    "name": "duel",
    "testbed": SIZES,
    "seeds": 2,
    "arms": {name: {"method": "sft"} for name in ("a", "b", "c")},
}


class Longer(PairwiseEvaluatorSpec):
    """The longer text wins."""

    kind: str = "longer"

    def open(self, context: Any) -> Any:
        return nullcontext(OpenLonger())


class OpenLonger(PairwiseEvaluator):
    def compare(self, split: Any, prompts: Any, first: Any, second: Any) -> list[float]:
        lengths = [(len(one.text), len(other.text)) for one, other in zip(first, second, strict=True)]
        return [TIE if one == other else WIN if one > other else LOSS for one, other in lengths]


class Broken(Longer):
    def open(self, context: Any) -> Any:
        class Unsure(PairwiseEvaluator):
            def compare(self, split: Any, prompts: Any, first: Any, second: Any) -> list[float]:
                return [0.7] * len(first)

        return nullcontext(Unsure())


def test_the_higher_reward_wins() -> None:
    """Protects `by-reward`: scores are lengths; 3 against 1 is a win, 1 against 3 a loss, 2 against 3 within the margin of 1 a
    tie, and so is 2 against 2."""

    class Length(Reward):
        def score(self, prompts: Any, completions: Any) -> list[float]:
            return [float(len(completion.text)) for completion in completions]

    first, second = ([Completion("x" * n) for n in row] for row in ((3, 1, 2, 2), (1, 3, 3, 2)))
    prompts = [Prompt("p", (Turn("user", "?"),))] * 4
    assert OpenByReward(Length(), 1.0).compare("test", prompts, first, second) == [WIN, LOSS, TIE, TIE]
    assert OpenByReward(Length(), 0.0).compare("test", prompts, first, second) == [WIN, LOSS, LOSS, TIE]


def arm(seed_directory: Path, name: str, answers: list[list[str]] | None) -> None:
    """A finished arm with these answers to each test prompt; None: it diverged."""
    directory = seed_directory / name
    directory.mkdir(parents=True)
    spec = {"name": name, "testbed": SIZES, "method": "sft"}
    write_json(directory / "manifest.json", {"format": 1, "spec": spec})
    write_json(directory / "result.json", {"diverged": "nan" if answers is None else None})
    with Minicode(train=4, validation=2, test=2).open(Context()) as testbed:
        prompts = list(testbed.prompts("test"))
    rows = [
        {"problem": prompt.id, "text": text, "truncated": False}
        for prompt, texts in zip(prompts, answers or [], strict=bool(answers))
        for text in texts
    ]
    (directory / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def match(place: Path, evaluator: Any = LONGER, name: str = "m") -> dict[str, Any]:
    spec = parse_spec(
        Match, {"name": name, "first": "a", "second": "b", "evaluator": evaluator, "testbed": SIZES}, where="test"
    )
    return execute_match(spec, match_directory(place, name, "a", "b"))


def test_a_match_compares_answer_by_answer(tmp_path: Path) -> None:
    """Protects pairing: the first answer of one arm meets the first of the other. First prompt: 3 > 1 wins, 1 < 2 loses;
    second: 2 = 2 ties, 4 > 1 wins. The same command gives what was written."""
    arm(tmp_path, "a", [["xxx", "x"], ["xx", "xxxx"]])
    arm(tmp_path, "b", [["y", "yy"], ["yy", "y"]])
    result = match(tmp_path)
    assert sorted(row["outcomes"] for row in result["problems"].values()) == [[0.5, 1.0], [1.0, 0.0]]
    (tmp_path / "a" / "answers.jsonl").unlink()
    assert match(tmp_path) == result


def test_a_match_with_a_diverged_arm_is_lost(tmp_path: Path) -> None:
    """Protects from dropping failures: an arm that diverged loses on every prompt that the other answered."""
    arm(tmp_path, "a", None)
    arm(tmp_path, "b", [["y"], ["yy"]])
    result = match(tmp_path)
    assert [row["outcomes"] for row in result["problems"].values()] == [[0.0], [0.0]]
    assert result["diverged_arms"] == ["a"]


def test_a_match_names_what_is_wrong(tmp_path: Path) -> None:
    """Protects users' own evaluators, and directories that an older preflab measured: one message each."""
    arm(tmp_path, "a", [["x"], ["x"]])
    arm(tmp_path, "b", [["y"], ["y"]])
    with pytest.raises(UserError, match=r"Unsure must give one outcome a pair \(2\), each 1.0, 0.5 or 0.0"):
        match(tmp_path, {"kind": f"{__name__}:Broken"})
    (tmp_path / "b" / "answers.jsonl").unlink()
    with pytest.raises(UserError, match="b keeps no answers"):
        match(tmp_path, name="n")


def outcome(seed: int, rows: list[list[float]], diverged: tuple[str, ...] = ()) -> dict[str, Any]:
    problems = {f"p{index}": {"outcomes": row} for index, row in enumerate(rows)}
    return {"seed": seed, "first": "a", "second": "b", "problems": problems, "diverged_arms": list(diverged)}


def win_rate(results: list[dict[str, Any]], *, can_rank: bool = True) -> Any:
    evaluator = EvaluatorResult(name="m", can_rank=can_rank)
    return pairwise_result("m", results, measure=WIN_RATE, evaluator=evaluator, family=1)


def test_win_rates_by_hand() -> None:
    """Protects the arithmetic. Two seeds, two prompts: seed 0 has 1 and (1 + .5) / 2 = .75, seed 1 has .5 and .75: their mean
    is (1 + .75 + .5 + .75) / 4 = .75. Of 8 outcomes 4 are ties."""
    seeds = [outcome(0, [[1.0, 1.0], [1.0, 0.5]]), outcome(1, [[0.5, 0.5], [1.0, 0.5]])]
    pair = win_rate(seeds)
    assert pair.win_rate.estimate == pytest.approx(0.75) and pair.ties == pytest.approx(0.5)
    assert pair.win_rate.low is not None and pair.win_rate.low < 0.5 and pair.verdict == "not decided"
    assert pair.win_rate.high - 0.75 == pytest.approx(0.75 - pair.win_rate.low)


def test_a_clear_win_is_decided_unless_the_evaluator_cannot_rank() -> None:
    """Protects the verdict: 9 of 10 answers win on 12 prompts under 5 seeds, with a little noise; by a coin nothing is decided.
    A seed in which both arms diverged is even."""
    seeds = [
        outcome(seed, [[1.0] * (9 - (seed + p) % 2) + [0.0] * (1 + (seed + p) % 2) for p in range(12)])
        for seed in range(5)
    ]
    assert win_rate(seeds).verdict == "better" and win_rate(seeds).win_rate.low > 0.5
    assert win_rate(seeds, can_rank=False).verdict == "not decided"
    even = win_rate([*seeds[:4], outcome(4, [], ("a", "b"))])
    assert even.win_rate.estimate == pytest.approx((4 * 0.85 + 0.5) / 5) and even.win_rate.diverged >= 1


def test_pairs_of_a_study() -> None:
    """Protects the plan: `against` means every other arm, each pair once a seed, after both arms; fewer arms leave
    fewer pairs."""
    study = parse_spec(Study, {**PLAIN, "pairwise": {"m": {"evaluator": LONGER, "against": "b"}}}, where="x")
    matches = list(planned_matches(study, Path("d")))
    assert [(each.spec.first, each.spec.second, each.seed) for each in matches] == [
        ("a", "b", 0),
        ("c", "b", 0),
        ("a", "b", 1),
        ("c", "b", 1),
    ]
    assert matches[0].needs == (Path("d/seed-0/a"), Path("d/seed-0/b"))
    assert matches[0].directory == Path("d/seed-0/pairwise/m/a-vs-b")
    assert [each.spec.first for each in planned_matches(study.narrowed(["a", "b"], 1), Path("d"))] == ["a"]
    assert study.narrowed(["a", "c"]).pairwise == {}


@pytest.mark.parametrize(
    ("pairing", "words"),
    [
        ({"pairs": [["a", "bb"]]}, r"`pairwise.m` names the arm 'bb'.*Did you mean 'b'"),
        ({"against": "z"}, "`pairwise.m` names the arm 'z'"),
        ({}, "`pairwise.m` needs `pairs`"),
        ({"pairs": [["a", "b"]], "against": "c"}, "one of the two"),
        ({"pairs": [["a", "b"], ["b", "a"]]}, "has a pair twice"),
        ({"pairs": [["a", "a"]]}, "an arm against itself"),
        ({"against": "b", "evaluator": {"kind": "by-reward", "model": {"path": "stage:rm"}}}, "names the stage 'rm'"),
        ({"against": "b", "evaluator": "by-rewards"}, "Did you mean 'by-reward'"),
    ],
)
def test_pairings_that_cannot_be_are_refused(pairing: dict[str, Any], words: str) -> None:
    """Protects from an error after hours of training."""
    with pytest.raises(UserError, match=words):
        parse_spec(Study, {**PLAIN, "pairwise": {"m": {"evaluator": LONGER, **pairing}}}, where="x")


def test_the_documented_pairwise_evaluator_works(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Protects whoever pastes the documentation, and the whole way from a study file to the three reports; the same command
    again finds everything done, and a lost match is played anew to the same result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (code,), (text,) = (blocks(repository, language, "A pairwise evaluator") for language in ("python", "yaml"))
    (tmp_path / "my_duel.py").write_text(code)
    (tmp_path / "duel.yaml").write_text(text)
    command = ["study", "duel.yaml", "--output", "out", "-q"]
    assert run_command(command) == 0, capfd.readouterr().err
    (pair,) = read_results(tmp_path / "out/results.json").pairwise
    assert (pair.name, pair.first, pair.second, pair.win_rate.seeds) == ("shorter", "once", "twice", 2)
    assert pair.win_rate.low is not None and pair.win_rate.problems == 40
    assert "Answer against answer" in (tmp_path / "out/report.html").read_text()
    assert "shorter: once against twice" in (tmp_path / "out/report.md").read_text()
    assert "once against twice,pairwise,all,shorter/win rate" in (tmp_path / "out/results.csv").read_text()
    result = tmp_path / "out/seed-1/pairwise/shorter/once-vs-twice/result.json"
    before = result.read_bytes()
    result.unlink()
    assert run_command(command) == 0
    assert result.read_bytes() == before
