"""`preflab winrate` as a user types it: contestants of every kind, labels, files, what is refused, and the key."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from tests.cli.running import run
from tests.contest.stub import PROMPTS, write_answers, write_data, write_lines
from tests.evaluation.preference.fault_server import FaultServer
from tests.evaluation.preference.test_endpoint_judge import CANARY, prefer_good

import preflab
from preflab.analysis.winrates.agreement import cohen_kappa
from preflab.analysis.winrates.cells import mean_of_cells
from preflab.analysis.winrates.shares import share_interval
from preflab.analysis.winrates.words import number, percent
from preflab.evaluation.preference.base import name_pair
from preflab.models.facts import TRAINED_ON
from preflab.models.heads import make_reward_model
from preflab.models.load import load_model
from preflab.models.spec import ModelSpec, TinyShape
from preflab.testbeds.provenance import describe_provenance


def answer(prompt: str) -> str:
    """An endpoint that judges if it is asked to compare, and else answers."""
    return prefer_good(prompt) if "Response A" in prompt else f"good {prompt}"


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(answer) as opened:
        yield opened


def judge(server: FaultServer, tmp_path: Path) -> list[str]:
    return ["--judge", "openai:m", "--base-url", server.url, "--cache", str(tmp_path / "cache")]


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_contestants_of_every_kind(server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the whole command: files, the data and an endpoint meet on the same prompts, the good ones beat the bad one, and
    the files of the result agree with what is printed. A second time nothing is asked."""
    words = [f"good={write_answers(tmp_path / 'a.jsonl', 'good')}", f"bad={write_answers(tmp_path / 'b.jsonl', 'bad')}"]
    words += ["data:chosen", "gpt=openai:x", *write_data(tmp_path), *judge(server, tmp_path), "--prompts", "12"]
    code, out, err = run("winrate", *words, "--output", tmp_path / "out", "--json", capsys=capsys)
    assert code == 0, err
    result = json.loads(out)
    rates = {(pair["first"], pair["second"]): pair["rate"]["estimate"] for pair in result["pairs"]}
    assert rates == {
        ("good", "bad"): 1.0,
        ("good", "data:chosen"): 0.5,
        ("good", "gpt"): 0.5,
        ("bad", "data:chosen"): 0.0,
        ("bad", "gpt"): 0.0,
        ("data:chosen", "gpt"): 0.5,
    }
    assert result["pairs"][1]["position_bias"]["estimate"] == 1.0
    assert result == json.loads((tmp_path / "out" / "winrate.json").read_text())
    page = (tmp_path / "out" / "winrate.md").read_text()
    assert page.count("- The judge chooses the answer shown first in nearly all replies that can be read.") == 3
    verdicts, pairs = read_lines(tmp_path / "out" / "verdicts.jsonl"), read_lines(tmp_path / "out" / "pairs.jsonl")
    assert len(verdicts) == len(pairs) == 6 * 12
    assert {row["pair"] for row in verdicts} == {row["id"] for row in pairs}
    assert set(pairs[0]) == {"id", "prompt", "first", "second"}
    assert "12 more in the cache" not in err
    calls = server.calls
    assert json.loads(run("winrate", *words, "--json", capsys=capsys)[1]) == result
    assert server.calls == calls == 12 + 2 * 6 * 12


def test_agreement_stands_first(server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects from a judge that is no better than a coin: its agreement with labelled pairs, in LLMBar's form and in one's
    own, is the first thing on the page, and such a judge decides nothing. A good one decides."""
    rows = [{"input": f"q{n}", "output_1": f"good {n}", "output_2": f"bad {n}", "label": 1 + n % 2} for n in range(20)]
    coin = tmp_path / "llmbar.json"
    coin.write_text(json.dumps(rows))
    own = write_lines(
        tmp_path / "own.jsonl",
        [{"prompt": f"q{n}", "first": f"bad {n}", "second": f"good {n}", "outcome": 0} for n in range(20)],
    )
    words = ["winrate", write_answers(tmp_path / "a.jsonl", "good"), "data:rejected", *write_data(tmp_path)]
    words += judge(server, tmp_path)
    _, out, err = run(*words, "--agreement", coin, capsys=capsys)
    lines = [line for line in out.splitlines() if line]
    assert lines[1].startswith("Judge on 20 labelled pairs: accuracy 50.0% [") and "NOT clearly better" in lines[1]
    assert "| not decided |" in out
    assert "NOT clearly better than a coin" in err
    _, out, _ = run(*words, "--agreement", own, capsys=capsys)
    assert "accuracy 100.0% [82.0, 100.0] (better than a coin), kappa" in out
    assert out.count("| not decided |") == 0
    _, out, _ = run(*words, capsys=capsys)
    assert "The judge was not checked on labelled pairs" in out


def test_labels_of_people_correct_the_win_rate(
    server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the way from `pairs.jsonl` to a corrected rate: with labels that contradict a biased judge on every third prompt
    the corrected rate is near that of the people, also if the contestants are named in the other order; too few labels are
    refused with a reason, and labels of other pairs too."""
    data, count = write_data(tmp_path, 120), range(120)
    good, bad = write_answers(tmp_path / "a.jsonl", "good", count), write_answers(tmp_path / "b.jsonl", "bad", count)
    words = [*data, *judge(server, tmp_path), "--prompts", "120", "--json"]
    run("winrate", f"good={good}", f"bad={bad}", *words, "--output", tmp_path / "out", capsys=capsys)
    chance = random.Random(0)
    rows = [
        {"pair": row["id"], "outcome": float(chance.random() < 0.6), "rater": "r"}
        for row in read_lines(tmp_path / "out" / "pairs.jsonl")
    ]
    labels = write_lines(tmp_path / "labels.jsonl", rows[:60])
    people = fmean(float(row["outcome"]) for row in rows[:60])
    _, out, err = run("winrate", f"good={good}", f"bad={bad}", *words, "--labels", labels, capsys=capsys)
    (pair,) = json.loads(out)["pairs"]
    found = pair["correction"]["corrected"]
    assert pair["rate"]["estimate"] == 1.0
    assert (found["labels"], found["rate"]["estimate"]) == (60, pytest.approx(people)), err
    assert pair["correction"]["by_error_rates"]["rate"] is None
    _, out, _ = run("winrate", f"bad={bad}", f"good={good}", *words, "--labels", labels, capsys=capsys)
    (turned,) = json.loads(out)["pairs"]
    assert turned["correction"]["corrected"]["rate"]["estimate"] == pytest.approx(1 - people)
    few = write_lines(tmp_path / "few.jsonl", rows[:49])
    _, out, _ = run("winrate", f"good={good}", f"bad={bad}", *words, "--labels", few, capsys=capsys)
    assert json.loads(out)["pairs"][0]["correction"]["reason"].startswith("49 labels are too few: at least 50")
    other = write_lines(tmp_path / "other.jsonl", [{"pair": "unknown", "outcome": 1}])
    code, _, err = run("winrate", f"good={good}", f"bad={bad}", *words, "--labels", other, capsys=capsys)
    assert (code, "contains no label for any judged pair" in err) == (2, True)


def test_labels_against_the_judge_decide(
    server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects from a useless judge: if people contradict it, few labels leave the pair undecided, 60 decide for the other
    contestant, and there are no Bradley-Terry scores."""
    data, count = write_data(tmp_path, 90), range(90)
    good, bad = write_answers(tmp_path / "a.jsonl", "good", count), write_answers(tmp_path / "b.jsonl", "bad", count)
    words = ["winrate", f"good={good}", f"bad={bad}", *data, *judge(server, tmp_path), "--prompts", "90"]
    _, out, _ = run(*words, "--output", tmp_path / "out", capsys=capsys)
    assert out.count("| good |\n") == 1
    rows = [{"pair": row["id"], "outcome": 0} for row in read_lines(tmp_path / "out" / "pairs.jsonl")]
    few, many = (write_lines(tmp_path / f"{size}.jsonl", rows[:size]) for size in (20, 60))
    _, out, _ = run(*words, "--labels", few, capsys=capsys)
    assert "| not decided |" in out
    _, out, _ = run(*words, "--labels", many, capsys=capsys)
    assert "| bad (corrected) |" in out
    assert "all labels are equal, so the interval is computed from the labels alone, without the judge" in out
    _, out, _ = run(*words[:3], f"more={bad}", *words[3:], "--labels", many, capsys=capsys)
    assert "None: the judge is not clearly better than a coin on people's labels of good against bad" in out


def test_several_seeds_meet_seed_by_seed(
    server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the pairing: three seeds of one contestant meet the one of the other, a run that is worse widens the interval,
    and the equal answers of a pair are ties without a question."""
    runs = [write_answers(tmp_path / f"{n}.jsonl", words) for n, words in enumerate(("good", "good", "bad"))]
    words = [f"ours={runs[0]},{runs[1]},{runs[2]}", "data:rejected", *write_data(tmp_path), *judge(server, tmp_path)]
    code, out, err = run("winrate", *words, "--json", capsys=capsys)
    assert code == 0, err
    (pair,) = json.loads(out)["pairs"]
    assert (pair["rate"]["seeds"], pair["rate"]["problems"]) == (3, PROMPTS)
    assert pair["rate"]["estimate"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert pair["verdict"] == "not decided"
    assert server.calls == 2 * PROMPTS * 2  # the first two runs gave the same answers


def test_models_of_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the local kinds: a saved policy answers, a saved model judges by its letters, and a reward model by its scores;
    a local judge says how far it is and keeps its replies; the same seed gives the same result. A reward model that learned
    from the contestant's data is refused."""
    policy = load_model(
        ModelSpec(name="tiny", tiny=TinyShape(width=16, layers=1, heads=2, inner=16, context=2048)), seed=0
    )
    policy.save(tmp_path / "policy")
    make_reward_model(policy, seed=1).save(tmp_path / "rm")
    words = ["winrate", f"ours={tmp_path / 'policy'}", "data:chosen", *write_data(tmp_path), "--prompts", "6"]
    words += ["--max-new-tokens", "8", "--json"]
    results: list[dict[str, Any]] = []
    local, reward = f"local:{tmp_path / 'policy'}", f"reward:{tmp_path / 'rm'}"
    for name, more in ((local, ["--cache", str(tmp_path / "cache")]), (reward, [])):
        code, out, err = run(*words, "--judge", name, *more, capsys=capsys)
        assert code == 0, err
        results.append(json.loads(out))
        assert ("has judged 6 of 6 pairs" in err) == name.startswith("local")
        assert json.loads(run(*words, "--judge", name, *more, capsys=capsys)[1]) == results[-1]
    (kept,) = (tmp_path / "cache").iterdir()
    assert len(kept.read_text().splitlines()) == 2 * 6  # both orders of 6 pairs, and none again
    assert [result["template"] for result in results] == ["helpful-letter", ""]
    assert results[0]["pairs"][0]["position_bias"] is not None
    assert results[1]["pairs"][0]["position_bias"] is None
    assert "The training data of" in results[1]["notes"][0]
    for model in ("policy", "rm"):  # both say that they learned from the same first turns
        record = describe_provenance("jsonl", "all", ["a", "b"])
        (tmp_path / model / TRAINED_ON).write_text(json.dumps([record]))
    code, _, err = run(*words, "--judge", f"reward:{tmp_path / 'rm'}", capsys=capsys)
    assert (code, "The evaluator was trained on jsonl" in err) == (2, True)
    assert results[1]["pairs"][0]["shares"]["unreadable"]["estimate"] == 0


def test_the_function_returns_the_same(server: FaultServer, tmp_path: Path) -> None:
    """Protects the Python interface: `measure_win_rates` takes what the command takes and returns data."""
    data = {"kind": "jsonl"} | dict(zip(("data", "test", "validation"), write_data(tmp_path)[3::2], strict=True))
    settings = {"judge": "openai:m", "endpoint": {"base_url": server.url, "cache": str(tmp_path / "cache")}}
    good = write_answers(tmp_path / "a.jsonl", "good")
    result = preflab.measure_win_rates([f"good={good}", "data:rejected"], testbed=data, judge=settings)
    assert (result.pairs[0].rate.estimate, result.pairs[0].verdict, result.prompts) == (1.0, "better", PROMPTS)


def test_the_key_is_in_no_file_and_no_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the key: with a canary as key, which the endpoint repeats, no file, page, record, cache, log or error has it."""
    monkeypatch.setenv("MY_KEY", CANARY)
    monkeypatch.setenv("OPENAI_LOG", "debug")
    files = [f"good={write_answers(tmp_path / 'a.jsonl', 'good')}", "data:rejected", *write_data(tmp_path)]
    with FaultServer(lambda prompt: f"{CANARY}\n{answer(prompt)}", ["500"], echo_key=True) as server:
        words = ["winrate", *files, *judge(server, tmp_path), "--key-variable", "MY_KEY", "--prompts", "5"]
        texts = [*run(*words, "--output", tmp_path / "out", capsys=capsys)[1:]]
        texts += run(*words, "--json", capsys=capsys)[1:]
        assert server.keys == {f"Bearer {CANARY}"}
    with FaultServer(answer, ["401"] * 9, echo_key=True) as server:
        words = ["winrate", *files, *judge(server, tmp_path), "--key-variable", "MY_KEY", "--prompts", "5"]
        code, *said = run(*words, capsys=capsys)
        assert code == 2 and "(key)" in said[1]
        texts += said
    texts += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(texts) > 10
    assert [text for text in texts if CANARY in text] == []


REFUSED: Sequence[tuple[list[str], str]] = [
    (["--judge", "openai:m"], "Give --testbed"),
    (["a"], "Give --judge"),
    (["{good}", "DATA", "--judge", "openai:m"], "Give at least two contestants"),
    (["{good}", "{good}", "DATA", "--judge", "openai:m"], "Two contestants are called"),
    (["{good}", "data:best", "DATA", "--judge", "openai:m"], "Write data:chosen or data:rejected"),
    (["{good}", "absent.jsonl", "DATA", "--judge", "openai:m"], "There is no file 'absent.jsonl'"),
    (["{good}", "data:chosen", "DATA", "--judge", "human"], "--judge human needs --output DIR"),
    (["{good}", "data:chosen", "DATA", "--judge", "reward:absent"], "absent"),
    (
        ["{good}", "data:chosen", "DATA", "--judge", "reward:x", "--max-calls", "3"],
        "--max-calls is an option of an endpoint",
    ),
    (
        ["{good}", "data:chosen", "DATA", "--judge", "openai:m", "--margin", "1"],
        "--margin applies only if a reward model judges",
    ),
    (["{good}", "data:chosen", "DATA", "--judge", "openai:m", "--prompts", "1"], "--prompts must be at least 2"),
    (["{good}", "data:chosen", "DATA", "--judge", "openai:m", "--max-calls", "3"], "the cap is 3"),
    (["{good}", "data:chosen", "DATA", "--judge", "openai:m", "--request", "x"], "is not FIELD=JSON"),
    (["{good}", "data:chosen", "DATA", "--judge", "openai:m", "--labels", "{bad_labels}"], "`outcome` is 2"),
    (["{good}", "data:chosen", "DATA", "--judge", "openai:m", "--labels", "{twice}"], "'r' labels the pair 'p' twice"),
    (
        ["{good}", "data:chosen", "DATA", "--judge", "openai:m", "--agreement", "{bad_pairs}"],
        "`label` is 3. It must be 1 or 2",
    ),
    (
        ["{good}", "data:chosen", "DATA", "--judge", "openai:m", "--agreement", "{empty_list}"],
        "without a labelled pair",
    ),
    (["{good}", "data:chosen", "DATA", "--judge", "reward:smollm2"], "is a language model, write local:smollm2"),
    (["{twice_answered}", "data:chosen", "DATA", "--judge", "openai:m"], "second answer to prompt"),
    (["{elsewhere}", "data:chosen", "DATA", "--judge", "openai:m"], "answers none of the 40 prompts"),
    (
        ["{good}", "x={good},{elsewhere}", "y={good},{good},{good}", "DATA", "--judge", "openai:m"],
        "has 2 seeds and y has 3",
    ),
    (["{good}", "data:chosen", "DATA", "--judge", "openai:m", "--output", "{good}"], "is a file"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    """Protects users: a mistake is one line that says what is wrong, with exit code 2, before anything is asked."""
    files = {
        "good": write_answers(tmp_path / "a.jsonl", "good"),
        "bad_labels": write_lines(tmp_path / "l.jsonl", [{"pair": "p", "outcome": 2}]),
        "twice": write_lines(tmp_path / "t.jsonl", [{"pair": "p", "outcome": 1, "rater": "r"}] * 2),
        "bad_pairs": write_lines(tmp_path / "p.jsonl", [{"input": "q", "output_1": "a", "output_2": "b", "label": 3}]),
        "empty_list": tmp_path / "empty.json",
        "twice_answered": write_answers(tmp_path / "d.jsonl", "x", [1, 1]),
        "elsewhere": write_answers(tmp_path / "e.jsonl", "x", [900]),
    }
    files["empty_list"].write_text("[]")
    given: list[str] = []
    for word in words:
        given += write_data(tmp_path) if word == "DATA" else [word.format(**files)]
    if "openai:m" in given:
        given += ["--base-url", "http://127.0.0.1:9/v1", "--cache", str(tmp_path / "cache")]
    code, out, err = run("winrate", *given, capsys=capsys)
    assert (code, out) == (2, "")
    assert said in err and err.count("\n") == 1


def test_prompts_that_a_file_lacks_are_counted(
    server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects from a silent choice of prompts: only what every file answers is compared, and a note says how much is
    missing."""
    words = [write_answers(tmp_path / "a.jsonl", "good", range(10)), "data:rejected", *write_data(tmp_path)]
    _, out, _ = run("winrate", *words, *judge(server, tmp_path), capsys=capsys)
    assert "Only 10 of the 100 requested prompts could be compared. 30 of 40 test prompts could not be drawn" in out


def test_an_interval_without_a_width_is_not_shown() -> None:
    """Protects from false certainty: cells without a spread, and raters who always agree, show a reason, not equal ends."""
    flat = mean_of_cells(np.full((1, 9), 0.5))
    said = "50.0% (no interval: the cells show no spread, so the interval has no width and says nothing about other prompts)"
    assert (percent(flat), number(flat)) == (said, said.replace("50.0%", "0.50"))
    assert number(cohen_kappa(np.arange(4.0), np.arange(4.0))).startswith(
        "1.00 (no interval: the raters agree on every pair"
    )
    assert percent(mean_of_cells(np.full((1, 1), 0.5))).startswith("50.0% (no interval: there is one prompt")
    assert percent(share_interval(np.array([[0.0, 1.0, 1.0, 1.0]]))) == "75.0% [16.3, 97.9]"


def test_a_pair_is_named_by_its_content() -> None:
    """Protects labels: the name depends on the prompt, the answers and their order, and on nothing else."""
    assert name_pair("p", "a", "b") == name_pair("p", "a", "b")
    assert (
        len({name_pair("p", "a", "b"), name_pair("p", "b", "a"), name_pair("q", "a", "b"), name_pair("p", "a,", "b")})
        == 4
    )
