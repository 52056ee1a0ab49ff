"""The served page's requests: what is refused, what is answered twice, and what survives a kill."""

from __future__ import annotations

import http.client
import json
import random
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from preflab.errors import UserError
from preflab.rating import RatedPair, read_labels, serve

from .conftest import Start

JSON = {"Content-Type": "application/json"}


def request(
    address: str, method: str, path: str, body: str = "", headers: dict[str, str] = JSON
) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    try:
        connection.request(method, path, body.encode() if method == "POST" else None, headers)
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read().decode()
    finally:
        connection.close()


def send(address: str, number: int, pair: str, choice: str = "left", **more: Any) -> tuple[int, Any]:
    event = {"rater": "ann", "number": number, "pair": pair, "choice": choice, "seconds": 1.5} | more
    status, _, body = request(address, "POST", "/events", json.dumps(event))
    return status, json.loads(body)


def test_requests(start: Start, folder: Path) -> None:
    """A repeated request gives one label; a page that is behind, an unknown pair, another site's request and nonsense are
    refused with one line, and change nothing."""
    address, _ = start()
    assert send(address, 0, "p0") == (200, {"saved": 1})
    assert send(address, 0, "p0") == (200, {"saved": 1})
    assert send(address, 0, "p0", "right")[0] == 409
    assert send(address, 0, "p1")[0] == 409
    assert send(address, 5, "p1")[0] == 409
    assert send(address, 1, "p0", "tie")[0] == 422
    assert send(address, 1, "p99")[0] == 404
    assert send(address, 1, "p1", "better")[0] == 422
    assert send(address, 1, "p1", seconds=-1)[0] == 422
    assert send(address, 1, "p1", rater=" ")[0] == 422
    assert request(address, "POST", "/events", "{", JSON)[0] == 422
    assert request(address, "POST", "/events", "x" * 70_000, JSON)[0] == 413
    assert request(address, "POST", "/events", "{}", {"Content-Type": "text/plain"})[0] == 415
    assert request(address, "GET", "/session?rater=ann", headers={"Host": "evil.example"})[0] == 400
    assert request(address, "GET", "/labels/ann.jsonl")[0] == 404
    assert request(address, "GET", "/session?rater=")[0] == 422
    assert [(label.pair, label.rater) for label in read_labels(folder)] == [("p0", "ann")]


def test_the_page_is_closed_to_others(start: Start) -> None:
    """The page loads nothing from elsewhere and stands in no frame; what it gets does not name the first answer."""
    address, _ = start()
    _, headers, page = request(address, "GET", "/?rater=%3Cscript%3Ealert(1)%3C/script%3E")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["x-frame-options"] == "DENY" and headers["cache-control"] == "no-store"
    assert "<script>alert" not in page and "http://" not in page and "https://" not in page
    session = json.loads(request(address, "GET", "/session?rater=ann")[2])
    assert {key for pair in session["pairs"] for key in pair} == {"id", "prompt", "answers"}
    first = [pair["answers"][0].startswith("first") for pair in session["pairs"]]
    assert any(first) and not all(first)


def test_kills_lose_nothing(start: Start, folder: Path) -> None:
    """Killed after each of four labels, at once after its reply, the server has lost none."""
    draws = random.Random(5)
    for number in range(4):
        address, process = start()
        assert send(address, number, f"p{number}", draws.choice(["left", "right", "tie"]))[0] == 200
        process.kill()
        process.wait()
        assert [label.pair for label in read_labels(folder)] == [f"p{done}" for done in range(number + 1)]


def test_a_port_that_is_taken(start: Start, pairs: list[RatedPair], tmp_path: Path) -> None:
    address, _ = start()
    port = urlsplit(address).port or 0
    for taken in (port, 99_999):
        with pytest.raises(UserError, match=f"The port {taken} cannot be used"):
            serve(pairs, tmp_path / "other", taken)
