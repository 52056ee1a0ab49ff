"""A preference judge in a study: a match of two arms, the prompts that it draws, and the notes of the result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.evaluation.preference.fault_server import FaultServer
from tests.evaluation.preference.test_endpoint_judge import shown
from tests.evaluation.test_pairwise import PLAIN, arm, match

from preflab.analysis.matches import HOW_TO_CHECK, OLD_MATCH, judge_agreement, judge_notes, pairwise_result
from preflab.analysis.record import EvaluatorResult, PairwiseResult, read_results
from preflab.analysis.winrates.agreement import can_judge
from preflab.analysis.winrates.words import check_words
from preflab.arm.result import MatchResult
from preflab.cli import run_command
from preflab.errors import UserError
from preflab.evaluation import PAIRWISE_EVALUATORS
from preflab.evaluation.pairwise import WIN_RATE
from preflab.evaluation.preference.evaluator import OpenPreferenceEvaluator, PreferenceEvaluator
from preflab.spec import parse_spec
from preflab.study.spec import Study


def longer(prompt: str) -> str:
    """Prefers the longer answer; of equally long ones, the first; and mumbles about an empty one."""
    a, b = shown(prompt)
    if "mumble" in a:
        return "Hard to say."
    return f"Comparison: x.\nMore helpful: {'A' if len(a) >= len(b) else 'B'}"


UNCHECKED = check_words(None, HOW_TO_CHECK)


def judged(result: MatchResult) -> PairwiseResult:
    evaluator = EvaluatorResult(name="m", description="")
    return pairwise_result("m", [result], measure=WIN_RATE, evaluator=evaluator, family=1)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(longer) as opened:
        yield opened


def settings(server: FaultServer, tmp_path: Path, **more: Any) -> dict[str, Any]:
    endpoint = {"base_url": server.url, "cache": str(tmp_path / "cache")}
    return {"kind": "preference-judge", "judge": "openai:m", "endpoint": endpoint, **more}


def test_a_match_by_a_judge(server: FaultServer, tmp_path: Path) -> None:
    """Protects the study's result: a longer answer wins, equally long ones tie by their orders, an unreadable reply is a share
    of its own and neither a win nor a tie; and the notes say what it could change, how often the orders disagree, and how
    often the answer shown first was chosen. On one prompt this is half of the replies of one pair, because the other reply
    is unreadable, on the other prompt 3 of 4. A match of an older preflab says that it does not know."""
    arm(tmp_path, "a", [["xxx", "xx"], ["mumble", "xxxx"]])
    arm(tmp_path, "b", [["y", "yy"], ["yy", "y"]])
    result = match(tmp_path, settings(server, tmp_path))
    assert sorted(row.outcomes for row in result.problems.values()) == [[0.5, 1.0], [1.0, 0.5]]
    assert result.details["judge"] == "openai:m"
    pair = judged(result)
    assert {name: share.estimate for name, share in pair.shares.items()} == {
        "win": 0.5,
        "tie": 0.25,
        "loss": 0.0,
        "unreadable": 0.25,
    }
    assert pair.ties == 0.25
    assert pair.notes[:4] == (
        "Judge: openai:m, template helpful.",
        UNCHECKED,
        "Unreadable verdicts: 25.0% (no interval: one seed: how much runs differ cannot be estimated, so there is no "
        "interval), counted as half a win; the win rate is 62.5% if all were losses and 87.5% if all were wins.",
        "The two orders disagree on 1 of 3 pairs. These pairs are ties.",
    )
    assert pair.notes[4].startswith("Position bias: the answer shown first was chosen in 62.5% [")
    del result.details["orders"]
    old = judged(result)
    assert (old.ties, old.notes[2:], "unreadable" in old.shares) == (0.5, (OLD_MATCH,), False)


def test_a_judge_is_checked_on_labelled_pairs(server: FaultServer, tmp_path: Path) -> None:
    """Protects readers from a judge that is no better than a coin: the judge that prefers long answers is wrong on all eight
    labelled pairs whose short answer is better, so its win rates decide nothing, and right on all eight with the other
    label. The second match does not ask about these pairs again: 2 orders x (8 labelled pairs + 2 pairs) calls in all."""
    arm(tmp_path, "a", [["xxxx"], ["xxxx"]])
    arm(tmp_path, "b", [["y"], ["y"]])
    for label, decides, words in ((2, False, "accuracy 0.0%"), (1, True, "accuracy 100.0%")):
        pairs = [{"input": f"q{n}", "output_1": "long", "output_2": "s", "label": label} for n in range(8)]
        file = tmp_path / f"{label}.json"
        file.write_text(json.dumps(pairs))
        details = [match(tmp_path, settings(server, tmp_path, agreement=[str(file)])).details]
        assert can_judge(judge_agreement(details)) == decides
        assert [*judge_notes(details, [], {})][1].startswith(f"Judge on 8 labelled pairs: {words}")
        assert server.calls == 20


def test_prompts_are_drawn_by_the_seed() -> None:
    """Protects the pairing of seeds and pairs: the drawn prompts depend on their ids and the seed alone, and 0 draws all."""
    names = [f"p{n}" for n in range(50)]

    def drawn(names: list[str], **fields: int) -> list[str]:
        spec = parse_spec(PreferenceEvaluator, {"judge": "openai:m", **fields}, where="x")
        return OpenPreferenceEvaluator(spec, None, [], []).select_prompts(names)  # type: ignore[arg-type]  # asks no judge

    assert len(drawn(names, prompts=10)) == 10
    assert set(drawn(names, prompts=10)) == set(drawn(names[::-1], prompts=10)) != set(drawn(names, prompts=10, seed=1))
    assert drawn(names, prompts=0) == drawn(names) == names


def test_the_settings_are_written_and_read() -> None:
    """Protects the record of a match: the short name of a judge is written as two fields, which are read again, and which no
    code of the user can be mistaken for; a stage's reward model is known to the study."""
    spec = PAIRWISE_EVALUATORS.parse({"kind": "preference-judge", "judge": "openai:gpt"})
    data = PAIRWISE_EVALUATORS.dump(spec)
    assert data["judge"] == {"by": "openai", "model": "gpt"}
    assert PAIRWISE_EVALUATORS.parse(data) == spec
    staged = {"kind": "preference-judge", "judge": "reward:stage:rm"}
    with pytest.raises(UserError, match="names the stage 'rm'"):
        parse_spec(Study, {**PLAIN, "pairwise": {"m": {"evaluator": staged, "against": "a"}}}, where="x")
    moved = PAIRWISE_EVALUATORS.parse(staged).with_saved_models(lambda path: {"path": f"there/{path}"})
    assert moved.saved_models() == ("there/stage:rm",)


def test_a_study_with_a_judge(server: FaultServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Protects the whole way from a study file to the reports, which show the notes of the judge."""
    study = {
        "name": "judged",
        "testbed": {"kind": "minicode", "train": 60, "validation": 10, "test": 12},
        "evaluation": {"samples": 2, "k": [1], "temperatures": [1.0], "max_new_tokens": 8},
        "seeds": 2,
        "arms": {name: {"method": {"kind": "sft", "epochs": epochs}} for name, epochs in (("once", 1), ("twice", 2))},
        "pairwise": {"liked": {"evaluator": settings(server, tmp_path, prompts=5), "against": "once"}},
    }
    (tmp_path / "judged.yaml").write_text(yaml.safe_dump(study))
    words = ["study", str(tmp_path / "judged.yaml"), "--output", str(tmp_path / "out"), "-q"]
    assert run_command(words) == 0, capfd.readouterr().err
    (pair,) = read_results(tmp_path / "out/results.json").pairwise
    assert (pair.win_rate.seeds, pair.win_rate.problems) == (2, 5)
    assert len(pair.notes) >= 2
    assert pair.notes[1] == UNCHECKED
    assert pair.notes[1] in (tmp_path / "out" / "report.md").read_text()
    for name in ("report.md", "report.html"):
        assert pair.notes[0] in (tmp_path / "out" / name).read_text()
