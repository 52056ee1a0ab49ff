"""An arm whose policy is served: what is asked, what is kept, what is reported, and what each fault says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.tiny_server import TinyServer

from preflab.arm.execute import execute
from preflab.arm.spec import Arm
from preflab.cli import main
from preflab.errors import UserError
from preflab.evaluation.result import Measurements
from preflab.spec import parse_spec

KEY = "sk-canary-0123456789abcdef"
TESTBED = {"kind": "minicode", "train": 20, "validation": 3, "test": 4}
EVALUATION = {"samples": 2, "k": [1], "validation_samples": 2, "max_new_tokens": 12, "temperatures": [0.0]}
REQUESTS = 3 * 2 + 4 * 2 + 4
"""Two answers to each of 3 validation prompts; to each of 4 test prompts, two answers at temperature 1 and a greedy one."""


def served_arm(url: str, evaluation: dict[str, Any] = EVALUATION, **endpoint: Any) -> Arm:
    """An arm with the policy `openai:m`, whose server fails fast."""
    settings = {"base_url": url, "backoff": 0.0, "retries": 1, "timeout": 5.0} | endpoint
    data = {"name": "served", "policy": "openai:m", "endpoint": settings, "testbed": TESTBED}
    return parse_spec(Arm, data | {"evaluator": "hidden-tests", "evaluation": evaluation}, where="test")


def first(text: str, seed: int) -> str:
    """The same short program for every prompt."""
    return "first"


def test_each_answer_is_one_request(tmp_path: Path) -> None:
    """Protects the protocol (golden bodies) and the count: 6 + 8 + 4 = 18 requests, one greedy answer to each prompt, and each
    sample with a seed of its own. Nothing is trained, charged or guessed: KL, entropy and size are absent."""
    with TinyServer(first) as server:
        result = execute(served_arm(server.url), tmp_path / "run")
    bodies = [body for _, body in server.requests]
    assert {path for path, _ in server.requests} == {"/v1/chat/completions"}
    assert len(bodies) == REQUESTS
    assert [body["temperature"] for body in bodies].count(0.0) == 4
    sampled = [body["seed"] for body in bodies if body["temperature"] == 1.0]
    assert len(set(sampled)) == len(sampled) == 14
    body = bodies[0]
    assert {**body, "seed": 0, "messages": []} == {
        "model": "m",
        "messages": [],
        "max_tokens": 12,
        "temperature": 1.0,
        "top_p": 1.0,
        "seed": 0,
    }
    assert [*body["messages"][0]] == ["role", "content"]
    evaluation = result.evaluation
    assert isinstance(evaluation, Measurements)
    assert (result.parameters, result.counts.flops, evaluation.unit.kl.estimate, evaluation.unit.kl.entropy) == (
        *(None, 0.0, None, None),
    )
    assert evaluation.unit.measures["length"] == 1.0
    assert f"openai:m at {server.host} answered" in result.notices[0]


def test_a_run_that_stops_asks_only_for_the_rest(tmp_path: Path) -> None:
    """Protects exactly once: the server breaks after 10 of 18 answers, and the repeated run sends the other 8. A finished run
    sends nothing, and `fresh` sends all 18 again."""
    with TinyServer(first, refuse_after=10) as server:
        arm = served_arm(server.url, concurrency=1)
        with pytest.raises(UserError, match="does not answer"):
            execute(arm, tmp_path / "run")
        assert len(server.requests) == 10
        server.refuse_after = None
        execute(arm, tmp_path / "run")
        assert len(server.requests) == REQUESTS
        assert len({json.dumps(body, sort_keys=True) for _, body in server.requests}) == REQUESTS
        execute(arm, tmp_path / "run")
        assert len(server.requests) == REQUESTS
        execute(arm, tmp_path / "run", fresh=True)
        assert len(server.requests) == 2 * REQUESTS


def test_a_server_without_seeds_draws_each_sample(tmp_path: Path) -> None:
    """Protects samples from a server that takes no seed: equal requests for several samples are sent as often as there are
    samples, and are not answered once for all of them."""
    with TinyServer(first) as server:
        execute(served_arm(server.url, request={"seed": None}), tmp_path / "run")
    assert len(server.requests) == REQUESTS
    assert all("seed" not in body for _, body in server.requests)


def test_plain_completions_continue_the_prompt(tmp_path: Path) -> None:
    """Protects `api: completions`: the prompt is sent as it is, without a chat template. A server that counts no tokens leaves
    the length out of the measures."""
    with TinyServer(first, usage=False) as server:
        result = execute(served_arm(server.url, api="completions"), tmp_path / "run")
    assert {path for path, _ in server.requests} == {"/v1/completions"}
    assert all(isinstance(body["prompt"], str) and "messages" not in body for _, body in server.requests)
    assert isinstance(result.evaluation, Measurements)
    assert "length" not in result.evaluation.unit.measures
    assert result.evaluation.inference.tokens_an_answer is None
    assert any("numbers of tokens" in notice for notice in result.notices)


def test_the_key_is_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the key: the server gets it, and no file of the run has it, even if the server repeats it in an answer."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with TinyServer(lambda text, seed: f"first {KEY}") as server:
        execute(served_arm(server.url), tmp_path / "run")
        assert server.keys == {f"Bearer {KEY}"}
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("server", "settings", "message"),
    [
        ({"status": 401}, {}, "refused the key in OPENAI_API_KEY: status 401"),
        ({"models": ("other",)}, {}, "does not exist there. The server has: other"),
        ({"reply": lambda text, seed: " "}, {}, "all are empty"),
        ({}, {"max_calls": 17}, "up to 18 requests, but the cap is 17"),
    ],
)
def test_faults_are_one_line(server: dict[str, Any], settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Protects the user: a refused key, an unknown model, empty answers and a cap are each one line that says what to do."""
    built: dict[str, Any] = {"reply": first, **server}
    with TinyServer(**built) as opened, pytest.raises(UserError, match=message) as error:
        execute(served_arm(opened.url, **settings), tmp_path / "run")
    assert "\n" not in str(error.value)


def test_no_server(tmp_path: Path) -> None:
    """Protects the user who forgot to start the server: one line at once, with the address, and without retries."""
    with pytest.raises(UserError, match=r"127.0.0.1:9/v1 cannot be reached: .*Start the server"):
        execute(served_arm("http://127.0.0.1:9/v1"), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": "openai:"}, "lacks the name of a model"),
        ({"init": "runs/sft"}, "`init` has no effect"),
        ({"policy": "runs/dpo", "endpoint": {"base_url": "http://x/v1"}}, "`endpoint` is the server of a policy"),
    ],
)
def test_settings_without_effect_are_refused(changes: dict[str, Any], message: str) -> None:
    """Protects against settings that nobody reads: a served policy has no start, and only a served policy has a server."""
    data = {"name": "served", "policy": "openai:m", "testbed": TESTBED, "evaluator": "hidden-tests"} | changes
    with pytest.raises(UserError, match=message):
        parse_spec(Arm, data, where="test")


def test_the_command_evaluates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects `preflab evaluate`: the endpoint's options, and exit code 2 for a mistake. A finished run
    is not asked for again."""

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as end:
            main(["evaluate", *words])
        return int(end.value.code or 0)

    with TinyServer(first) as server:
        words = ["--testbed", "minicode", "--testbed.test", "4", "--testbed.validation", "3", "--samples", "2"]
        words += ["--base-url", server.url, "--output", str(tmp_path / "run")]
        assert run("openai:m", *words) == 0
        assert f"The policy is served: openai:m at {server.host} answered." in capsys.readouterr().out
        assert run("openai:m", *words) == 0
        assert len(server.requests) == REQUESTS
        assert run("openai:m", "--start", "x", *words) == 2
        assert run(str(tmp_path), "--base-url", server.url) == 2
        assert "--base-url is an option of an endpoint" in capsys.readouterr().err
