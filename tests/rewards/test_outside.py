"""Rewards from outside: your function, your program, your endpoint. What they give is checked, what fails is named."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import UserError
from preflab.meter import Meter
from preflab.rewards import REWARDS, parse_reward
from preflab.rewards.base import check_scores
from preflab.rewards.command import Command
from preflab.rewards.function import Function
from preflab.rewards.http import Http
from preflab.spec import Context
from preflab.types import Completion, Prompt, Turn

PROMPTS = [Prompt("p1", (Turn("user", "Say é"),)), Prompt("p2", (Turn("user", "a"), Turn("assistant", "b")))]
ANSWERS = [Completion("abc"), Completion("line\nbreak\u2028", truncated=True)]


@pytest.mark.parametrize(
    ("scores", "complaint"),
    [
        ([1.0], "returned 1 scores for 2"),
        ([1, 2, 3], "returned more than 2 scores for 2"),
        ([1, math.nan], "completion 1: .*finite number, not nan"),
        ([math.inf, 1], "completion 0: .*finite number"),
        (["1", 2], 'completion 0: .*not "1"'),
        ([None, 2], "completion 0: .*not null"),
        (None, "returned a NoneType"),
        ("12", "returned a str"),
        (3.0, "returned a float"),
    ],
)
def test_wrong_scores_are_refused(scores: Any, complaint: str) -> None:
    """Too few, too many, not finite, no numbers: none of it reaches a loss."""
    with pytest.raises(UserError, match=complaint):
        check_scores(scores, 2, "It")


def test_array_scores_are_taken() -> None:
    """numpy arrays, generators and booleans are lists of numbers too."""
    numpy = pytest.importorskip("numpy")
    assert check_scores(numpy.array([1, 2.5], dtype="float32"), 2, "It") == [1.0, 2.5]
    assert check_scores((flag for flag in (True, False)), 2, "It") == [1.0, 0.0]


# --- function


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory of the user's, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_a_function_in_the_current_directory(here: Path) -> None:
    """Prompts come as records, answers as text; the file need not be installed."""
    (here / "mine_a.py").write_text(
        "def brevity(prompts, completions):\n"
        "    return [len(p.turns[-1].content) - len(c) for p, c in zip(prompts, completions)]\n"
    )
    with Function(target="mine_a:brevity").open(Context()) as reward:
        assert reward.score(PROMPTS, ANSWERS) == [5 - 3, 1 - 11] and reward.deterministic
        assert reward.score([], []) == []


@pytest.mark.parametrize(
    ("source", "target", "complaint"),
    [
        ("def f(p, c):\n    return 1 / 0\n", "mine_b:f", r"failed at .*mine_b\.py:2: ZeroDivisionError"),
        ("def f(p, c):\n    return [1]\n", "mine_b:f", "returned 1 scores for 2"),
        ("def f(p):\n    return [1]\n", "mine_b:f", "failed at .*TypeError.*positional"),
        ("def good(p, c): ...\n", "mine_b:god", "'god' does not exist. Did you mean 'good'"),
        ("x = 3\n", "mine_b:x", "is a int, not a function"),
        ("import absent_module\n", "mine_b:f", r"at .*mine_b\.py:1: No module named 'absent_module'"),
        ("def f(\n", "mine_b:f", r"at .*mine_b\.py:1: SyntaxError"),
        ("raise KeyError('k')\n", "mine_b:f", r"at .*mine_b\.py:1: KeyError"),
        ("", "no_such_module:f", "there is no module 'no_such_module' in"),
        ("", "mine_b", "is not a `module:function`"),
        ("import sys\nsys.exit(3)\n", "mine_b:f", r"at .*mine_b\.py:2: SystemExit"),
        ("import sys\ndef f(p, c): sys.exit(3)\n", "mine_b:f", r"failed at .*mine_b\.py:2: SystemExit"),
        ("def f(p, c):\n    yield 1 / 0\n", "mine_b:f", r"failed at .*mine_b\.py:2: ZeroDivisionError"),
        ("import itertools\ndef f(p, c): return itertools.count()\n", "mine_b:f", "returned more than 2 scores for 2"),
        ("def f(p, c): return {1.0, 2.0}\n", "mine_b:f", "returned a set for 2 completions"),
        (
            "def f(p, c): return [10**5000, 1]\n",
            "mine_b:f",
            "completion 0: the score must be a finite number, not a int",
        ),
    ],
)
def test_a_wrong_function_is_named_with_its_line(here: Path, source: str, target: str, complaint: str) -> None:
    """The user's own file and line, never a bare traceback of preflab's."""
    (here / "mine_b.py").write_text(source)
    with pytest.raises(UserError, match=complaint), Function(target=target).open(Context()) as reward:
        reward.score(PROMPTS, ANSWERS)


# --- command

ECHO = """
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    assert row["prompt"][-1]["role"] and isinstance(row["truncated"], bool)
    print(json.dumps({"request": row["request"], "score": len(row["completion"])}), flush=True)
"""
ANSWER_ALL = """
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    print(json.dumps({"request": row["request"], "score": %s}), flush=True)
"""


def command(folder: Path, source: str, **fields: Any) -> Command:
    path = folder / "reward program.py"
    path.write_text(source)
    return Command(command=f"{sys.executable} '{path}'", **fields)


def test_a_program_answers_line_by_line(tmp_path: Path) -> None:
    """The request's id comes back with the score; line breaks inside an answer stay inside its line; one process serves
    all calls."""
    with command(tmp_path, ECHO).open(Context()) as reward:
        assert reward.score(PROMPTS, ANSWERS) == [3, 11]
        assert reward.score(PROMPTS * 50, ANSWERS * 50) == [3, 11] * 50
        assert not reward.deterministic


def test_a_program_that_dies_once_is_started_again(tmp_path: Path) -> None:
    """It dies after each answer; each further line is asked again of a new process."""
    source = ANSWER_ALL % 1 + "    sys.exit(3)\n"
    with command(tmp_path, source).open(Context()) as reward:
        assert reward.score(PROMPTS * 2, ANSWERS * 2) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import sys\nsys.exit('no weights')", r"ended with exit code 1.*no weights.*\(tried twice\)"),
        ("import sys\nfor line in sys.stdin: pass", r"gave no answer within 0\.5 s\. Check that the program flushes"),
        ("import sys\nfor line in sys.stdin: print('good', flush=True)", "answered 'good'.*not JSON"),
        (
            "import sys\nfor line in sys.stdin: print('NaN', flush=True)",
            "answered 'NaN': the answer to this request must be",
        ),
        ("import sys\nfor line in sys.stdin: print(0.5, flush=True)", r'"request": "\w{8}", "score"'),
        (
            "import json\nfor n in range(1, 9): print(json.dumps({'request': str(n), 'score': 7}), flush=True); input()",
            "the answer to this request must be|more than one answer",
        ),
        (
            "import json, sys\nfor line in sys.stdin:\n    request = json.loads(line)['request']\n"
            '    print(f\'{{"request": "{request}", "score": 1, "score": 5}}\', flush=True)',
            "the key `score` occurs twice",
        ),
        (ANSWER_ALL % "float('nan')", "must be a finite number, not nan"),
        (ANSWER_ALL % "None", "must be a finite number, not null"),
        ("print('weights loaded', flush=True)\n" + ANSWER_ALL % 1, "'weights loaded.*standard error"),
        (ANSWER_ALL % 1 + "    print('a line too many', flush=True)", "a line too many.*standard error"),
        (
            ANSWER_ALL % 1 + "    print(json.dumps({'request': row['request'], 'score': 2}), flush=True)",
            "standard error",
        ),
        ("print(end='10%\\r100%\\r')\n" + ANSWER_ALL % 1, "10%.*not JSON"),
        ("import sys\nfor line in sys.stdin: sys.stdout.buffer.write(b'\\xff\\n'); sys.stdout.flush()", "not UTF-8"),
        ("import sys\nfor line in sys.stdin: print('9' * 5000, flush=True)", "too many digits"),
        ("import sys\nfor line in sys.stdin: print('[' * 100000, flush=True)", "nested too deeply"),
        ("import sys\nfor line in sys.stdin: print('x' * (2 << 20), flush=True)", "more than one answer"),
        ("import sys\nwhile True: print('noise', flush=True)", "more than one answer|answered 'noise'"),
    ],
)
def test_a_wrong_program_is_told_with_its_own_words(tmp_path: Path, source: str, complaint: str) -> None:
    """Exit code and the end of its error output, or the answer that was none."""
    with (
        pytest.raises(UserError, match=f"(?s){complaint}"),
        command(tmp_path, source, timeout=0.5 if "pass" in source else 20).open(Context()) as reward,
    ):
        reward.score(PROMPTS * 2, ANSWERS * 2)


def test_a_program_may_write_before_it_has_read_all(tmp_path: Path) -> None:
    """A request of 4 MB to a program that reads nothing yet is cut off by `timeout`, and one that reads gets it whole."""
    answers = [Completion("x" * (4 << 20))]
    with command(tmp_path, ANSWER_ALL % "len(row['completion'])").open(Context()) as reward:
        assert reward.score(PROMPTS[:1], answers) == [4 << 20]
    with (
        command(tmp_path, "import time\ntime.sleep(600)", timeout=0.3).open(Context()) as reward,
        pytest.raises(UserError, match=r"no answer within 0\.3 s"),
    ):
        reward.score(PROMPTS[:1], answers)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    """Absent, empty, or with an open quote: said when it starts."""
    for text in (str(tmp_path / "absent"), "", "a 'b"):
        with pytest.raises(UserError, match="does not start"), Command(command=text).open(Context()):
            pass


def test_no_process_survives_closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the program nor a child of it that ignores the end of its input."""
    monkeypatch.setattr("preflab.rewards.command._PATIENCE", 0.2)
    source = (
        "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    ) + ANSWER_ALL % "child.pid"
    with command(tmp_path, source).open(Context()) as reward:
        child = int(reward.score(PROMPTS[:1], ANSWERS[:1])[0])
        assert alive(child)
    deadline = time.monotonic() + 10
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(child)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- http


@contextmanager
def server(
    answer: Callable[[dict[str, Any], int], tuple[int, bytes]], missing: int = 0
) -> Iterator[tuple[str, list[Any]]]:
    """A local endpoint; yields its address and the requests it has seen. The last `missing` bytes of an answer are lost."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((body, dict(self.headers)))
            status, content = answer(body, len(seen))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(content) + missing))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}/score", seen
        finally:
            httpd.shutdown()
            thread.join()


def test_an_answer_that_was_cut_is_asked_for_again() -> None:
    """Protects from half an answer that happens to be JSON."""
    with server(lengths, missing=3) as (url, seen), Http(url=url, retries=1, backoff=0).open(Context()) as reward:
        with pytest.raises(UserError, match=r"does not answer \(2 tries, the last: IncompleteRead"):
            reward.score(PROMPTS, ANSWERS)
        assert len(seen) == 2


def lengths(body: dict[str, Any], call: int) -> tuple[int, bytes]:
    return 200, json.dumps({"scores": [len(text) for text in body["completions"]]}).encode()


def test_an_endpoint_scores_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 completions in batches of 2 are 3 requests; the token goes in the header and not into the spec."""
    monkeypatch.setenv("MY_TOKEN", "secret")
    with server(lengths) as (url, seen):
        spec = Http(url=url, batch=2, token_variable="MY_TOKEN")
        with spec.open(Context()) as reward:
            assert reward.score([*PROMPTS * 2, PROMPTS[0]], [*ANSWERS * 2, ANSWERS[0]]) == [3, 11, 3, 11, 3]
    assert [len(body["prompts"]) for body, _ in seen] == [2, 2, 1]
    assert seen[0][0] == {
        "ids": ["p1", "p2"],
        "prompts": [
            [{"role": "user", "content": "Say é"}],
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        ],
        "completions": ["abc", "line\nbreak\u2028"],
        "truncated": [False, True],
    }
    assert seen[0][1]["Authorization"] == "Bearer secret" and "secret" not in spec.model_dump_json()


def test_what_may_pass_is_tried_again() -> None:
    """Two refusals for load, then an answer: three requests, one result."""

    def busy(body: dict[str, Any], call: int) -> tuple[int, bytes]:
        return (503, b"busy") if call < 3 else lengths(body, call)

    with server(busy) as (url, seen), Http(url=url, backoff=0).open(Context()) as reward:
        assert reward.score(PROMPTS, ANSWERS) == [3, 11]
        assert len(seen) == 3


@pytest.mark.parametrize(
    ("status", "content", "complaint", "requests"),
    [
        (400, b"no field x", "refused the request: status 400: no field x", 1),
        (302, b"", "refused the request: status 302", 1),
        (500, b"boom", r"does not answer \(3 tries, the last: status 500: boom\)", 3),
        (200, b"<html>", "answered '<html>', which cannot be read: it is not JSON", 1),
        (200, b"\xff", "line 1 is not UTF-8.$", 1),
        (200, b'{"scores": [1, 2], "scores": [2, 1]}', "the key `scores` occurs twice", 1),
        (200, b'{"scores": [1, ' + b"9" * 5000 + b"]}", "a number has too many digits", 1),
        (200, b"[" * 100_000, "nested too deeply", 1),
        (200, b" " * (65 << 20), "sent an answer of more than 64 MB", 1),
        (200, b'{"scores": [1, 1' + b"0" * 400 + b"]}", "completion 1: .*finite number", 1),
        (200, b"[1, 2]", 'it must be {"scores"', 1),
        (200, b'{"scores": [1]}', "returned 1 scores for 2", 1),
        (200, b'{"scores": [1, null]}', "completion 1: .*finite number", 1),
        (200, b'{"scores": 3}', "returned a int", 1),
    ],
)
def test_a_wrong_endpoint_is_told(status: int, content: bytes, complaint: str, requests: int) -> None:
    """What it said, and whether asking again was worth it."""
    with server(lambda body, call: (status, content)) as (url, seen):
        with Http(url=url, retries=2, backoff=0).open(Context()) as reward, pytest.raises(UserError, match=complaint):
            reward.score(PROMPTS, ANSWERS)
        assert len(seen) == requests


@pytest.mark.parametrize("drips", [b"HTTP/1.0 200 OK\r\n\r\n", b""])
def test_a_server_that_drips_bytes_is_cut_off(drips: bytes) -> None:
    """One byte every .1 s of a head, or of a body, resets a socket's own limit; `timeout` holds for the whole answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            with suppress(OSError), listener.accept()[0] as connection:
                connection.sendall(drips)
                while True:
                    connection.sendall(b"H")
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with (
            Http(url=url, timeout=0.5, retries=0).open(Context()) as reward,
            pytest.raises(UserError, match=r"no complete answer within 0\.5 s"),
        ):
            reward.score(PROMPTS, ANSWERS)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://x",
            "http://",
            "http://[::1",
            "http://host:99999/",
            "http://host:ab/",
            "http://a b/",
            "x",
            "http://[zz]/",
        ),
        *("http://me:hunter2@host/", "https://hunter2@host/", "http://me:hunter2@ho st/", "http://me:hunter2@host:ab/"),
    ],
)
def test_an_odd_address_is_refused_without_its_password(url: str) -> None:
    """One line that names `url`, and no password in it."""
    with pytest.raises(UserError, match="`url`") as caught:
        REWARDS.parse({"kind": "http", "url": url})
    assert "hunter2" not in str(caught.value)


def test_no_message_holds_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the query is sent and not shown; a token that no header may hold is refused before anything is sent."""
    with server(lambda body, call: (400, b"no")) as (url, _):
        spec = Http(url=f"{url}?key=hunter2")
        with spec.open(Context()) as reward, pytest.raises(UserError, match=r"score refused .* 400: no") as caught:
            reward.score(PROMPTS, ANSWERS)
        assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("MY_TOKEN", "hunter2\nX: y")
    with (
        pytest.raises(UserError, match="variable MY_TOKEN is not a valid token") as caught,
        Http(url=url, token_variable="MY_TOKEN").open(Context()),
    ):
        pass
    assert "hunter2" not in str(caught.value)


def test_letters_outside_ascii_are_encoded() -> None:
    """A host goes as Punycode, a path percent-encoded, as RFC 3986 and RFC 3492 write them."""
    assert Http(url="http://bücher.example/é").url == "http://xn--bcher-kva.example/%C3%A9"
    assert Http(url="http://a.b/c?d=e").url == "http://a.b/c?d=e"


def test_no_server_and_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port where nothing listens, a variable that is not set, an address that is none."""
    with server(lengths) as (url, _):
        pass
    with (
        Http(url=url, retries=1, backoff=0).open(Context()) as reward,
        pytest.raises(UserError, match=r"refused.*running"),
    ):
        reward.score(PROMPTS, ANSWERS)
    monkeypatch.delenv("MY_TOKEN", raising=False)
    with (
        pytest.raises(UserError, match="variable MY_TOKEN, which is not set"),
        Http(url=url, token_variable="MY_TOKEN").open(Context()),
    ):
        pass
    with pytest.raises(UserError, match="`url`"):
        REWARDS.parse({"kind": "http", "url": "ftp://x"})


# --- what they cost


def test_each_score_from_outside_is_a_label(here: Path) -> None:
    """Function, program and endpoint each charge one label a completion: two calls of 2 are 4, and no compute."""
    (here / "mine_d.py").write_text("def f(prompts, completions):\n    return [0.0 for _ in completions]\n")
    with server(lengths) as (url, _):
        for spec in (Function(target="mine_d:f"), command(here, ECHO), Http(url=url)):
            meter = Meter()
            with spec.open(Context(meter=meter)) as reward:
                reward.score(PROMPTS, ANSWERS)
                reward.score(PROMPTS, ANSWERS)
            assert meter.used("labels") == 4 and meter.used("compute") == 0, spec.kind


# --- the word on the command line


def test_one_word_stands_for_a_reward(here: Path) -> None:
    """Each form that `--reward` takes, and a reward spec of the user's own."""
    (here / "mine_c.py").write_text(
        "from preflab.rewards.base import RewardSpec\nfrom preflab.spec import Spec\n"
        "class Own(RewardSpec):\n    weight: float = 2.0\n    def open(self, context): raise NotImplementedError\n"
        "class Baseless(Spec):\n    weight: float = 2.0\n"
        "class Shut(RewardSpec):\n    weight: float = 2.0\n"
        "def f(prompts, completions): return [0.0 for _ in completions]\n"
    )
    (here / "saved").mkdir()
    assert parse_reward("tests") == REWARDS.parse({"kind": "tests"})
    assert parse_reward("https://a.b/c?d") == Http(url="https://a.b/c?d")
    assert parse_reward("command: python r.py --x 'a b'") == Command(command="python r.py --x 'a b'")
    assert parse_reward("mine_c:f") == Function(target="mine_c:f")
    assert REWARDS.dump(parse_reward("saved"))["kind"] == "learned"
    own = parse_reward("mine_c:Own")
    assert REWARDS.dump(own) == {"kind": "mine_c:Own", "weight": 2.0}
    for text, complaint in [
        ("test", "Did you mean 'tests'.*module:function"),
        ("mine_c:g", "'g' does not exist"),
        ("learned", "`path`"),
        ("mine_c:Baseless", "must be a class that derives from preflab.rewards.base.RewardSpec"),
        ("mine_c:Shut", "must define `open`"),
    ]:
        with pytest.raises(UserError, match=complaint):
            parse_reward(text)


def test_rewards_need_no_torch() -> None:
    """Code rewards, and the names of all rewards, import neither torch nor transformers."""
    source = (
        "import sys\nfrom preflab.rewards import REWARDS, parse_reward\nREWARDS.names()\nparse_reward('tests')\n"
        "parse_reward('http://x')\nparse_reward('command:x')\nfrom preflab.testbeds import TESTBEDS\n"
        "TESTBEDS.load('hh_rlhf'), TESTBEDS.load('jsonl')\n"
        "print([name for name in ('torch', 'transformers', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
