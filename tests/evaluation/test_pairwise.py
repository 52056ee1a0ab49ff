"""Two policies' answers compared: the built-in rule, what a match reads and writes, win rates by hand, a study with one."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.test_several import blocks

from preflab.analysis.matches import pairwise_result
from preflab.analysis.record import EvaluatorResult, read_results
from preflab.analysis.winrates.length import control_length
from preflab.arm.match import Match, match_directory
from preflab.arm.play import execute_match
from preflab.arm.result import MatchResult, PlayedPrompt
from preflab.cli import run_command
from preflab.cli.plan import format_plan
from preflab.errors import UserError
from preflab.evaluation.by_reward import OpenByReward
from preflab.evaluation.pairwise import (
    DATA_CHOSEN,
    LOSS,
    TIE,
    WIN,
    WIN_RATE,
    PairwiseEvaluator,
    PairwiseEvaluatorSpec,
    check_outcomes,
)
from preflab.methods.cost import DataSize
from preflab.report import evaluators
from preflab.rewards.base import Reward
from preflab.spec import Context, parse_spec
from preflab.study.check import check_study
from preflab.study.directory import claim_study, read_study
from preflab.study.forecast.estimate import FORK_SECONDS, Estimate
from preflab.study.forecast.make import forecast_study
from preflab.study.forecast.speed import Speed
from preflab.study.plan import planned_matches
from preflab.study.spec import Study
from preflab.testbeds import TESTBEDS
from preflab.testbeds.minicode.testbed import Minicode
from preflab.train.files import write_json
from preflab.train.sealed import write_sealed
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
    margin: int = 0

    def open(self, context: Any) -> Any:
        return nullcontext(OpenLonger(self.margin))


class OpenLonger(PairwiseEvaluator):
    def __init__(self, margin: int) -> None:
        self.margin = margin

    def compare(self, split: Any, prompts: Any, first: Any, second: Any) -> list[float]:
        gaps = [len(one.text) - len(other.text) for one, other in zip(first, second, strict=True)]
        return [TIE if abs(gap) <= self.margin else WIN if gap > 0 else LOSS for gap in gaps]


class Broken(Longer):
    def open(self, context: Any) -> Any:
        class Unsure(PairwiseEvaluator):
            def compare(self, split: Any, prompts: Any, first: Any, second: Any) -> list[float]:
                return [0.7] * len(first)

        return nullcontext(Unsure())


class Failing(Longer):
    def open(self, context: Any) -> Any:
        class Absent(PairwiseEvaluator):
            def compare(self, split: Any, prompts: Any, first: Any, second: Any) -> list[float]:
                return {}["model"]

        return nullcontext(Absent())


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
    second: 2 = 2 ties, 4 > 1 wins. Beside the outcomes stands the mean difference of the lengths. The same command gives what
    was written."""
    arm(tmp_path, "a", [["xxx", "x"], ["xx", "xxxx"]])
    arm(tmp_path, "b", [["y", "yy"], ["yy", "y"]])
    result = match(tmp_path)
    rows = sorted((row.outcomes, row.length_difference) for row in result.problems.values())
    assert rows == [([0.5, 1.0], 1.5), ([1.0, 0.0], 0.5)]
    (tmp_path / "a" / "answers.jsonl").unlink()
    assert match(tmp_path) == result


def meet_chosen(place: Path, testbed: Any) -> dict[str, Any]:
    """A match of the arm `a` against the data's chosen answers."""
    data = {"name": "m", "first": "a", "second": DATA_CHOSEN, "evaluator": LONGER, "testbed": testbed}
    return execute_match(parse_spec(Match, data, where="test"), match_directory(place, "m", "a", DATA_CHOSEN))


def test_a_match_against_the_chosen_answers_of_the_data(tmp_path: Path) -> None:
    """Protects win rates against the data: each of an arm's answers meets the first chosen answer to its prompt, a prompt
    without one is counted and left out, and an arm that diverged loses."""
    rows = [{"prompt": f"ask {n}", "chosen": "yes" * (1 + n), "rejected": "no"} for n in (0, 1, 2, 2)]
    rows[-1]["chosen"] = "no longer first"
    paths = {name: tmp_path / f"{name}.jsonl" for name in ("data", "validation", "test")}
    for name, path in paths.items():
        own = rows if name == "test" else [{**rows[0], "prompt": name}]
        path.write_text("".join(json.dumps(row) + "\n" for row in own))
    data = {"kind": "jsonl", **{name: str(path) for name, path in paths.items()}}
    with TESTBEDS.parse(data).open(Context()) as testbed:
        chosen = {row.prompt.id: row.chosen.text for row in reversed(testbed.preferences("test"))}
    assert sorted(chosen.values()) == ["yes", "yesyes", "yesyesyes"]
    answers = [(name, text) for name in chosen for text in ("x" * 99, "", chosen[name])] + [("nowhere", "x")]
    arm(tmp_path, "a", [["x"], ["x"]])
    lines = [json.dumps({"problem": name, "text": text, "truncated": False}) + "\n" for name, text in answers]
    (tmp_path / "a" / "answers.jsonl").write_text("".join(lines))
    result = meet_chosen(tmp_path, data)
    outcomes = {name: row.outcomes for name, row in result.problems.items()}
    assert set(outcomes) == set(chosen) and all(row == [1.0, 0.0, 0.5] for row in outcomes.values())
    assert result.left_out == 1
    pair = win_rate([result])
    assert (pair.second, pair.win_rate.estimate) == (DATA_CHOSEN, 0.5)
    assert pair.notes == ("1 prompt without a chosen answer in the data was left out.",)
    arm(tmp_path / "two", "a", None)
    lost = meet_chosen(tmp_path / "two", data)
    assert (lost.problems, lost.diverged_arms) == ({}, ["a"])
    assert win_rate([result, lost.model_copy(update={"seed": 1})]).win_rate.estimate == pytest.approx(0.25)


def test_the_data_need_pairs_before_a_study_begins(tmp_path: Path) -> None:
    """Protects hours of training: an arm cannot meet chosen answers that the test split does not have."""
    pairwise = {"m": {"evaluator": LONGER, "against": DATA_CHOSEN}}
    study = parse_spec(Study, {**PLAIN, "pairwise": pairwise}, where="x")
    with pytest.raises(
        UserError,
        match=r"`pairwise.m` compares with 'data:chosen', the chosen answers in the data, but the test split of minicode",
    ):
        check_study(study, tmp_path / "out")
    matches = list(planned_matches(study.narrowed(["a", "b"], 1), Path("d")))
    assert [(each.spec.first, each.spec.second, each.needs) for each in matches] == [
        (name, DATA_CHOSEN, (Path("d/seed-0") / name,)) for name in ("a", "b")
    ]
    pairs = {"m": {"evaluator": LONGER, "pairs": [[DATA_CHOSEN, "a"]]}}
    with pytest.raises(UserError, match="begins with 'data:chosen'"):
        parse_spec(Study, {**PLAIN, "pairwise": pairs}, where="x")


def test_a_match_with_a_diverged_arm_is_lost(tmp_path: Path) -> None:
    """Protects from dropping failures: an arm that diverged loses on every prompt that the other answered."""
    arm(tmp_path, "a", None)
    arm(tmp_path, "b", [["y"], ["yy"]])
    result = match(tmp_path)
    assert [row.outcomes for row in result.problems.values()] == [[0.0], [0.0]]
    assert result.diverged_arms == ["a"]


def test_a_match_names_what_is_wrong(tmp_path: Path) -> None:
    """Protects users' own evaluators, and directories that an older preflab measured: one message each."""
    arm(tmp_path, "a", [["x"], ["x"]])
    arm(tmp_path, "b", [["y"], ["y"]])
    with pytest.raises(UserError, match=r"Unsure.compare gave 0.7 for pair 1. .* each WIN \(1.0\)"):
        match(tmp_path, {"kind": f"{__name__}:Broken"})
    with pytest.raises(UserError, match=r"Absent.compare failed at .*test_pairwise.py:\d+: KeyError: 'model'"):
        match(tmp_path, {"kind": f"{__name__}:Failing"}, name="failing")
    (tmp_path / "b" / "answers.jsonl").unlink()
    with pytest.raises(UserError, match="b does not contain the arm's answers"):
        match(tmp_path, name="n")


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        ([True, 0.5], "x gave True for pair 1. Return WIN, TIE or LOSS instead of True or False"),
        ([0.0, np.bool_(False)], "x gave False for pair 2. Return WIN, TIE or LOSS instead of True or False"),
        (
            [1.0],
            r"x gave 1 outcomes for 2 pairs. Return one outcome for each pair, each WIN \(1.0\), TIE \(0.5\) or LOSS \(0.0\)",
        ),
        ([1.0, 0.5, 0.0], "x gave 3 outcomes for 2 pairs"),
        (None, "x gave None. Return a list with one outcome for each pair"),
        (1.0, "x gave 1.0. Return a list"),
        ("WL", "x gave 'WL'. Return a list"),
        ([1.0, None], "x gave None for pair 2"),
        ([1.0, -1.0], "x gave -1.0 for pair 2"),
        ([1.0, "0.5"], "x gave '0.5' for pair 2"),
        ([1.0, [0.5]], r"x gave \[0.5\] for pair 2"),
        ([1.0, float("nan")], "x gave nan for pair 2"),
    ],
)
def test_what_is_no_outcome_is_refused(outcomes: Any, words: str) -> None:
    """Protects from ties that count as losses (`one < other` is False for a tie), and from other things that `compare` may
    give: one message each, which says what is right."""
    with pytest.raises(UserError, match=words):
        check_outcomes(outcomes, 2, source="x")


def test_outcomes_of_every_container_are_read() -> None:
    """Protects evaluators that compute with numpy, or give their outcomes one by one."""
    assert check_outcomes(np.array([1.0, 0.5]), 2, source="x") == [1.0, 0.5]
    assert check_outcomes((each for each in (0, 1)), 2, source="x") == [0.0, 1.0]


def test_a_match_of_other_settings_is_played_anew(tmp_path: Path) -> None:
    """Protects the arms' training: other settings of the evaluator replace its match, and nothing else is repeated. 3 > 1 wins
    and ties within 2. What is not a match is refused and stays."""
    arm(tmp_path, "a", [["xxx"], ["x"]])
    arm(tmp_path, "b", [["y"], ["y"]])
    assert sorted(row.outcomes for row in match(tmp_path).problems.values()) == [[0.5], [1.0]]
    wider = match(tmp_path, LONGER | {"margin": 2})
    assert [row.outcomes for row in wider.problems.values()] == [[0.5], [0.5]]
    place = match_directory(tmp_path, "m", "a", "b")
    write_sealed(place / "manifest.json", {"format": 1, "spec": {"name": "an arm"}})
    with pytest.raises(UserError, match="holds another run"):
        match(tmp_path)
    assert (place / "result.json").exists()


def outcome(seed: int, rows: list[list[float]], diverged: tuple[str, ...] = ()) -> MatchResult:
    problems = {f"p{index}": PlayedPrompt(outcomes=row) for index, row in enumerate(rows)}
    return MatchResult(
        name="m", seed=seed, first="a", second="b", diverged=None, problems=problems, diverged_arms=list(diverged)
    )


def win_rate(results: list[MatchResult], *, can_rank: bool = True, description: str = "") -> Any:
    evaluator = EvaluatorResult(name="m", can_rank=can_rank, description=description)
    return pairwise_result("m", results, measure=WIN_RATE, evaluator=evaluator, family=1)


def test_win_rates_by_hand() -> None:
    """Protects the arithmetic. Two seeds, two prompts: seed 0 has 1 and (1 + .5) / 2 = .75, seed 1 has .5 and .75: their mean
    is (1 + .75 + .5 + .75) / 4 = .75. Of 8 outcomes 4 are wins and 4 are ties. The win rate and each share have an interval
    within 0 and 1."""
    seeds = [outcome(0, [[1.0, 1.0], [1.0, 0.5]]), outcome(1, [[0.5, 0.5], [1.0, 0.5]])]
    pair = win_rate(seeds)
    assert pair.win_rate.estimate == pytest.approx(0.75) and pair.ties == pytest.approx(0.5)
    assert {name: share.estimate for name, share in pair.shares.items()} == {"win": 0.5, "tie": 0.5, "loss": 0.0}
    win = pair.shares["win"]
    assert win.low is not None and 0 <= win.low < 0.5 < win.high <= 1
    assert pair.win_rate.low is not None and pair.win_rate.low < 0.5 and pair.verdict == "not decided"
    assert pair.win_rate.low < 0.5 and pair.win_rate.high == 1.0 and pair.length is None


def with_lengths(rng: np.random.Generator, seed: int, prompts: int, *, per_character: float) -> MatchResult:
    """A match of two equally good arms. The first arm's answers are 20 characters longer on average, and the evaluator prefers
    the longer answer, the more so the larger `per_character`."""
    result = outcome(seed, [[0.5]] * prompts)
    for name in result.problems:
        length = float(rng.normal(20, 30))
        won = rng.random() < 1 / (1 + np.exp(-per_character * length))
        result.problems[name] = PlayedPrompt(outcomes=[float(won)], length_difference=length)
    return result


def test_a_study_has_a_length_controlled_win_rate() -> None:
    """Protects from a preference for long answers: two equally good arms, of which the one with longer answers wins in the
    plain rate and not in the controlled one. The estimate is that of a contest with the same tables; the interval treats
    seeds as the study's other intervals do. It is missing if a seed has no lengths, because a run diverged or an older
    preflab compared the answers, and has no ends with one seed."""
    rng = np.random.default_rng(0)
    seeds = [with_lengths(rng, seed, 100, per_character=0.05) for seed in range(5)]
    pair = win_rate(seeds)
    assert pair.verdict == "better" and pair.length is not None
    rate, phi = pair.length.rate, pair.length.phi
    assert rate.low < 0.5 < rate.high and phi.low > 0 and pair.length.difference == pytest.approx(20, abs=3)
    rows = [list(result.problems.values()) for result in seeds]
    contest = control_length(
        np.array([[row.outcomes[0] for row in seed] for seed in rows]),
        np.array([[row.length_difference or 0.0 for row in seed] for seed in rows]),
    )
    assert contest.rate is not None and rate.estimate == pytest.approx(contest.rate.estimate)
    assert win_rate([*seeds[:4], outcome(4, [], ("b",))]).length is None
    one = win_rate(seeds[:1]).length
    assert one is not None and one.rate is not None and one.rate.low is None
    assert one.rate.reason == "one seed: how much runs differ cannot be estimated, so there is no interval"


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


def test_the_order_of_the_file_is_that_of_the_report(tmp_path: Path) -> None:
    """Protects the rows of a report: a manifest is sorted by name."""
    pairings = {name: {"evaluator": LONGER, "against": "b"} for name in ("z", "m", "a")}
    claim_study(parse_spec(Study, {**PLAIN, "pairwise": pairings}, where="x"), tmp_path, ())
    assert list(read_study(tmp_path).study.pairwise) == ["z", "m", "a"]


def test_the_plan_counts_matches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Protects the forecast. A row of the test split's 2 prompts has min(8, 10 samples) answers that are kept, each read for
    both arms: 2 x 8 x 2 reads of .25 s take 8 s where a saved model compares; another evaluator's time is not known. Opening
    takes 1 s, loading .5 s. Two matches under each of 2 seeds beside the 6 runs of the arms."""
    learned = {"kind": "by-reward", "model": {"path": "runs/rm/final"}}
    pairings = {
        "m": {"evaluator": LONGER, "pairs": [["a", "b"]]},
        "liked": {"evaluator": learned, "pairs": [["c", "b"]]},
    }
    study = parse_spec(
        Study, {**PLAIN, "evaluation": {"samples": 10, "temperatures": [0.6]}, "pairwise": pairings}, where="x"
    )
    estimate = Estimate(
        study,
        speeds={study.model: Speed(sampling=0.0, training=0.0, forward=0.25, forward_flops=0.0, loading=0.5)},
        sizes={
            "train": DataSize(prompts=4, demonstrations=4, pairs=0),
            "validation": DataSize(prompts=2, demonstrations=2, pairs=0),
            "test": DataSize(prompts=2, demonstrations=2, pairs=0),
        },
        opening=1.0,
        judging=0.0,
        sharing=1.0,
    )
    monkeypatch.setattr(Estimate, "measured", lambda *_: estimate)
    forecast = forecast_study(study, tmp_path / "none")
    rows = {
        row.name: (row.method, row.runs, row.seconds - FORK_SECONDS) for row in forecast.rows if row.part == "match"
    }
    assert rows["m: a against b"] == ("longer", 2, pytest.approx(1.0))
    assert rows["liked: c against b"] == ("by-reward", 2, pytest.approx(9.5))
    assert forecast.runs == 10
    assert "match  liked: c against b by-reward" in format_plan(study, forecast)


def test_the_words_of_a_win_rate() -> None:
    """Protects who reads the terminal or Markdown alone: who wins how often against whom, what a win is, and that wins and
    ties, which add to more than 100%, are not both called wins."""
    first = outcome(0, [[1.0, 1.0], [1.0, 0.5]])
    second = outcome(1, [[0.5, 0.5], [1.0, 0.5]])
    pair = win_rate([first, second], description="The longer text wins.")
    line = evaluators.win_words(pair)
    assert re.fullmatch(r"m: a against b, win rate 75\.0% \[.*\] \(a tie counts half\), 50\.0% ties: not decided", line)
    assert evaluators.wins_explained(pair) == "The longer text wins. win rate: a tie counts as half a win."


def test_the_documented_pairwise_evaluator_works(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Protects whoever pastes the documentation, and the whole way from a study file to the three reports; the same command
    again finds everything done, a lost match is played anew to the same result, and other settings train nothing anew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (code,), (text,) = (blocks(repository, language, "A pairwise evaluator") for language in ("python", "yaml"))
    (tmp_path / "my_duel.py").write_text(code)
    (tmp_path / "duel.yaml").write_text(text)
    command = ["study", "duel.yaml", "--output", "out", "-q"]
    assert run_command(command) == 0, capfd.readouterr().err
    (pair,) = read_results(tmp_path / "out/results.json").pairwise
    assert (pair.name, pair.first, pair.second, pair.win_rate.seeds) == ("shorter", "twice", "once", 2)
    assert pair.win_rate.low is not None and pair.win_rate.problems == 20
    assert "Answer against answer" in (tmp_path / "out/report.html").read_text()
    report = (tmp_path / "out/report.md").read_text()
    assert "shorter: twice against once" in report
    assert "- shorter: The answer with fewer words wins" in report and "a tie counts as half a win." in report
    assert "shorter: twice against once, win rate " in capfd.readouterr().out
    assert "twice against once,pairwise,all,shorter/win rate" in (tmp_path / "out/results.csv").read_text()
    result = tmp_path / "out/seed-1/pairwise/shorter/twice-vs-once/result.json"
    before = result.read_bytes()
    result.unlink()
    assert run_command(command) == 0
    assert result.read_bytes() == before
    trained = (tmp_path / "out/seed-1/twice/result.json").stat().st_mtime_ns
    (tmp_path / "duel.yaml").write_text(text.replace("margin: 1", "margin: 1000"))
    assert run_command(command) == 0
    rows = json.loads(result.read_text())["problems"].values()
    assert {outcome for row in rows for outcome in row["outcomes"]} == {0.5}
    assert (tmp_path / "out/seed-1/twice/result.json").stat().st_mtime_ns == trained
