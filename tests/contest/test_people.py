"""`preflab winrate --judge human`: the page, what the folder keeps, raters elsewhere, the result, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.cli.running import run
from tests.contest.stub import write_answers, write_data, write_lines
from tests.evaluation.preference.fault_server import FaultServer
from tests.evaluation.preference.test_endpoint_judge import prefer_good
from tests.rating.driving import open_browser

from preflab.errors import UserError
from preflab.evaluation.preference.evaluator import PreferenceEvaluator
from preflab.rating import kept_pairs, read_labels
from preflab.rating.events import make_event
from preflab.rating.folder import open_store
from preflab.rating.order import is_exported_swapped, is_swapped
from preflab.rating.pairs import digest_pairs
from preflab.spec import parse_spec


def command(folder: Path, prompts: int = 6) -> list[str]:
    """The words of the command: good against bad answers, judged by people."""
    good, bad = (write_answers(folder / f"{word}.jsonl", word, range(prompts)) for word in ("good", "bad"))
    data = write_data(folder, prompts)
    return ["winrate", f"good={good}", f"bad={bad}", *data, "--prompts", str(prompts), "--output", str(folder / "out")]


def rate(folder: Path, rater: str, likes: str, count: int | None = None) -> None:
    """A rater labels the first pairs: the answer that begins with `likes` is better."""
    with open_store(folder) as store:
        for pair in store.pairs[:count]:
            swapped = is_swapped(pair.id, rater)
            choice = "left" if pair.first.startswith(likes) != swapped else "right"
            store.add(rater, [make_event(pair.id, choice, swapped=swapped, seconds=1.0)])


def export(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    return run(*words, "--judge", "human", "--export", tmp_path / "page.html", capsys=capsys)


def send(url: str, data: dict[str, Any] | None = None) -> Any:
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.loads(reply.read())


def serve(words: list[str], *more: str) -> tuple[str, subprocess.Popen[str]]:
    """Starts the command as a user does; returns the page's address and the process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "preflab", *words, "--judge", "human", "--port", "0", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("Open http://127.0.0.1:"), line + process.stderr.read()
    return line.split()[1], process


def label(address: str, rater: str, numbers: range) -> None:
    """Labels pairs on the served page: the left answer is better."""
    pairs = send(f"{address}session?rater={rater}")["pairs"]
    for number in numbers:
        event = {"rater": rater, "number": number, "pair": pairs[number]["id"], "choice": "left", "seconds": 1.0}
        assert send(f"{address}events", event) == {"saved": number + 1}


def test_the_page_is_served_until_all_pairs_have_a_label(tmp_path: Path) -> None:
    """Protects the human study in one command: it says its address, is stopped by Ctrl-C and goes on, ends by itself when
    every pair has its label, and prints and writes the same record as a model judge does. The pairs do not say whose the
    answers are."""
    words = command(tmp_path)
    address, process = serve(words)
    label(address, "ann", range(2))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "4 of 6 prompts still lack a label" in out, err
    assert "good=" not in (tmp_path / "out" / "pairs.jsonl").read_text()
    address, process = serve(words, "--json")
    label(address, "ann", range(2, 6))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert result == json.loads((tmp_path / "out" / "winrate-human.json").read_text())
    assert (result["judge"], result["prompts"], result["people"]["raters"]) == ("human", 6, {"ann": 6})
    wins = sum(each.outcome == 1 for each in read_labels(tmp_path / "out"))
    (pair,) = result["pairs"]
    assert pair["rate"]["estimate"] == pytest.approx(wins / 6) and pair["rate"]["low"] < pair["rate"]["high"]
    assert pair["shares"]["win"]["estimate"] == pytest.approx(wins / 6)
    assert result["notes"] == []


def test_two_raters_judge_in_a_browser(chromium: str, tmp_path: Path) -> None:
    """Protects the human study as people use it: by keyboard, first on a telephone's width, then on a desk. Bob prefers the
    good answer of five pairs, Ann of all six but the first that she sees, which is one of Bob's: they agree on 4 of 5 pairs.
    Every pair has a label then, so the command ends and prints their agreement."""
    address, process = serve(command(tmp_path), "--json")
    with open_browser(chromium, tmp_path) as browser:
        for rater, width, wrong, count in (("bob", 390, (), 5), ("ann", 1280, (0,), 6)):
            browser.resize(width, 844)
            browser.open(address)
            browser.begin(rater)
            assert browser.value("document.documentElement.scrollWidth") <= width
            for number in range(count):
                assert browser.count() == number
                left_is_good = browser.text("left").startswith("good")
                browser.press("ArrowLeft" if left_is_good == (number not in wrong) else "ArrowRight")
                if (rater, number) != ("ann", 5):  # the server stops after the last label
                    browser.wait(f"document.getElementById('progress').textContent.startsWith('{number + 1} ')")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert browser.console == []
    people = json.loads(out)["people"]
    labels = {(each.rater, each.pair): each.outcome for each in read_labels(tmp_path / "out")}
    assert [sum(rater == name for rater, _ in labels) for name in ("bob", "ann")] == [5, 6]
    assert [labels[key] for key in labels if key[0] == "bob"] == [1.0] * 5
    assert sorted(labels[key] for key in labels if key[0] == "ann") == [0.0] + [1.0] * 5
    assert people["agreement"]["between"] == ["ann", "bob"]
    assert people["agreement"]["raw"]["value"] == pytest.approx(4 / 5)


def test_raters_agree_with_each_other_and_with_a_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects what several raters say: a pair on which two raters differ is half a win and half a loss, their agreement and
    that with a model judge stand in the result, raw and kappa, and the files of the judge stay. The judge's win rate is
    corrected by the same directory as `--labels`."""
    words = command(tmp_path, 60)
    folder = tmp_path / "out"
    with FaultServer(prefer_good) as server:
        by_model = ["--judge", "openai:m", "--base-url", server.url, "--cache", str(tmp_path / "cache")]
        code, _, err = run(*words, *by_model, capsys=capsys)
        assert code == 0, err
        before = (folder / "winrate.json").read_text()
        assert export(words, tmp_path, capsys)[0] == 0
        rate(folder, "ann", "good")
        rate(folder, "bob", "bad", 15)
        (tmp_path / "none.json").write_text(
            json.dumps(
                {"kind": "preflab labels", "export": digest_pairs(kept_pairs(folder)), "rater": "cy", "events": []}
            )
        )
        code, out, err = run(*words, "--judge", "human", "--import", tmp_path / "none.json", "--json", capsys=capsys)
        assert code == 0, err
        result = json.loads(out)
        (pair,) = result["pairs"]
        assert pair["rate"]["estimate"] == pytest.approx((45 + 15 / 2) / 60)
        assert [pair["shares"][name]["estimate"] for name in ("win", "tie", "loss")] == [0.875, 0.0, 0.125]
        people = result["people"]
        assert (people["agreement"]["between"], people["agreement"]["raw"]["value"]) == (["ann", "bob"], 0.0)
        assert people["with_other"]["between"] == ["people", "openai:m"]
        assert people["with_other"]["raw"]["value"] == pytest.approx(0.875)
        assert (folder / "winrate.json").read_text() == before
        assert "agreement of people and openai:m on 60 pairs: 87.5% [" in (folder / "winrate-human.md").read_text()
        elsewhere = ["--output", str(tmp_path / "other"), "--labels", str(folder), "--json"]
        code, out, err = run(*words[:-2], *by_model, *elsewhere, capsys=capsys)
        assert code == 0, err
        corrected = json.loads(out)["pairs"][0]["correction"]["corrected"]
        assert (corrected["labels"], corrected["rate"]["estimate"]) == (60, pytest.approx(0.875))
        code, _, err = run(*words[:-2], *by_model, "--seed", "1", "--output", folder, capsys=capsys)
        assert (code, "contains the rating of other pairs" in err) == (2, True)


def test_a_rater_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects `--export` and `--import`: the page holds the contest's pairs, its labels count for the right contestant, and
    another earlier judge is named by `--with-judge`."""
    words, page, folder = command(tmp_path), tmp_path / "page.html", tmp_path / "out"
    code, out, err = export(words, tmp_path, capsys)
    assert (code, out) == (0, "") and "6 pairs" in err and "No result yet: 0 of 6 prompts" in err
    assert page.exists()
    pairs = kept_pairs(folder)
    digest = digest_pairs(pairs)
    events = []
    for pair in pairs:
        swapped = is_swapped(pair.id, "eva")
        left_is_first = swapped == is_exported_swapped(pair.id, digest)
        choice = "left" if pair.first.startswith("good") == left_is_first else "right"
        events.append({"pair": pair.id, "choice": choice, "seconds": 2, "swapped": swapped, "at": "now"})
    sent = tmp_path / "labels.json"
    sent.write_text(json.dumps({"kind": "preflab labels", "export": digest, "rater": "eva", "events": events}))
    code, out, err = run(*words, "--judge", "human", "--import", sent, "--json", capsys=capsys)
    assert code == 0, err
    assert json.loads(out)["pairs"][0]["rate"]["estimate"] == 1.0
    more = ["--judge", "human", "--import", sent, "--with-judge", tmp_path / "nowhere"]
    code, _, err = run(*words, *more, capsys=capsys)
    assert code == 2 and "contains no verdict on these pairs" in err


def test_the_folder_is_of_one_contest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects labels: other prompts, other contestants, or a contestant's file with other answers are refused, because the
    labels in the folder are of what was shown."""
    words = command(tmp_path)
    assert export(words, tmp_path, capsys)[0] == 0
    code, _, err = export([*words, "--seed", "3"], tmp_path, capsys)
    assert code == 2 and "contains the pairs of a contest with other settings (different: seed)" in err
    write_lines(tmp_path / "bad.jsonl", [{"prompt": f"Question {n}?", "answer": "new"} for n in range(6)])
    code, _, err = export(words, tmp_path, capsys)
    assert code == 2 and "bad.jsonl" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--judge", "human", "--template", "helpful"], "--template applies only if a model judges"),
        (["--judge", "human", "--margin", "1"], "--margin applies only if a reward model judges"),
        (["--judge", "human", "--labels", "x"], "--labels applies only if a model judges"),
        (["--judge", "human", "--agreement", "x"], "--agreement applies only if a model judges"),
        (["--judge", "human", "--raters", "0"], "--raters must be at least 1"),
        (["--judge", "human", "--export", "x", "--import", "y"], "Give one of them"),
        (["--judge", "local:x", "--raters", "2"], "--raters applies only if people judge"),
        (["--judge", "local:x", "--with-judge", "x"], "--with-judge applies only if people judge"),
    ],
)
def test_mistakes(tmp_path: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects users: an option of the other kind of judge is one line that says so, before anything is answered."""
    code, out, err = run(*command(tmp_path), *more, capsys=capsys)
    assert (code, out) == (2, "")
    assert said in err and err.count("\n") == 1


def test_people_need_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects labels from being lost: without --output there is no page."""
    code, _, err = run(*command(tmp_path)[:-2], "--judge", "human", capsys=capsys)
    assert code == 2 and "--judge human needs --output DIR" in err


def test_a_study_waits_for_nobody() -> None:
    """Protects a study: people cannot be its pairwise evaluator, and the message names the command for people."""
    with pytest.raises(UserError, match="preflab winrate A B --judge human"):
        parse_spec(PreferenceEvaluator, {"judge": "human"}, where="pairwise")
