"""A reward that is an HTTP endpoint. For each batch of completions, preflab sends one POST request. The request and the
answer are JSON.

preflab sends `{"ids": [...], "prompts": [[{"role": ..., "content": ...}, ...], ...], "completions": [...], "truncated":
[...]}`.
The endpoint answers `{"scores": [...]}` with one number for each completion, in order.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, HttpUrl, TypeAdapter, ValidationError

from preflab.errors import UserError
from preflab.fields import Seconds
from preflab.meter import Meter
from preflab.plain import parse_json, refuse_repeated_keys
from preflab.rewards.base import Reward, RewardSpec, answer_to_json, check_scores
from preflab.spec import Context
from preflab.types import Completion, Prompt
from preflab.work import report_each

_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses after which the request is tried again
_MOST_BYTES = 64 << 20  # the largest size of an answer


def check_address(url: str) -> str:
    """Returns the address with its host and path encoded for sending. Raises `ValueError` for an invalid address. The
    error message contains no part of a password."""
    try:
        parts = TypeAdapter(HttpUrl).validate_python(url)
    except ValidationError as error:
        raise ValueError(f"this is not an http or https address ({error.errors()[0]['msg']})") from None
    if parts.username or parts.password:
        raise ValueError(
            "an address must not contain a user or a password: put the token into an environment variable, and the name of "
            "this variable into `token_variable`"
        )
    return str(parts)


class Http(RewardSpec):
    """The settings of a reward that is an HTTP endpoint. `url`: the address of the endpoint. `batch`: the largest
    number of completions in a request. `timeout`: the number of seconds from the start of a request to the last byte of
    its answer.

    If a request fails because of the network, a timeout, or the status 408, 425, 429, 500, 502, 503 or 504, it is sent
    again, up to `retries` times. The first wait is `backoff` seconds, and each further wait is twice as long as the
    previous wait. `token_variable`: the name of the environment variable whose value is sent as a bearer token. The run
    file contains only this name, and not the token.
    """

    kind: Literal["http"] = "http"
    url: Annotated[str, AfterValidator(check_address)]
    batch: int = Field(default=256, ge=1)
    timeout: Seconds = 60.0
    retries: int = Field(default=4, ge=0, le=10)
    backoff: float = Field(default=0.5, ge=0, le=60)
    token_variable: str = ""
    deterministic: bool = False

    @property
    def label(self) -> str:
        """The name of the reward in messages: the address without its query, which may contain a key."""
        return f"The reward {urlsplit(self.url)._replace(query='', fragment='').geturl()}"

    @contextmanager
    def open(self, context: Context) -> Generator[HttpReward]:
        """Prepares the request headers without sending anything. Raises `UserError` if the environment variable with
        the token is not set, or contains characters that are not allowed in a header."""
        headers = {"Content-Type": "application/json"}
        if self.token_variable:
            token = os.environ.get(self.token_variable, "")
            if not token:
                raise UserError(
                    f"{self.label} takes its token from the environment variable {self.token_variable}, "
                    "which is not set."
                )
            if not (token.isascii() and token.isprintable()):
                raise UserError(
                    f"{self.label}: the environment variable {self.token_variable} is not a valid token. "
                    "It contains a line end or a character that is not ASCII."
                )
            headers["Authorization"] = f"Bearer {token}"
        yield HttpReward(self, headers, context.meter, self.deterministic)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Treats a redirect as an error. Otherwise urllib would turn the POST into a GET, and would send the token to
    another host."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


@dataclass(frozen=True)
class HttpReward(Reward):
    """Sends answers to the endpoint, which scores them."""

    spec: Http
    headers: dict[str, str]
    meter: Meter
    deterministic: bool

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """Requests the scores from the endpoint, batch by batch, and returns all scores. Raises `UserError` if the
        endpoint does not answer, or if an answer does not have the required form."""
        rows = [answer_to_json(prompt, answer) for prompt, answer in zip(prompts, completions, strict=True)]
        names = {"ids": "id", "prompts": "prompt", "completions": "completion", "truncated": "truncated"}
        scores: list[float] = []
        starts = range(0, len(rows), self.spec.batch)
        for start in report_each("requests answered", starts, len(starts)):
            part = rows[start : start + self.spec.batch]
            answer = self._post({plural: [row[name] for row in part] for plural, name in names.items()})
            scores += check_scores(answer["scores"], len(part), self.spec.label)
        self.meter.labelled(len(scores))
        return scores

    def _post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(self.spec.url, json.dumps(body).encode(), self.headers, method="POST")
        trouble = ""
        for attempt in range(self.spec.retries + 1):
            if attempt:
                time.sleep(self.spec.backoff * 2 ** (attempt - 1))
            try:
                return self._parse(self._send(request))
            except urllib.error.HTTPError as error:
                trouble = f"status {error.code}: {error.msg}"
                if error.code not in _TEMPORARY:
                    raise UserError(f"{self.spec.label} refused the request: {trouble}.") from error
            except TimeoutError:
                trouble = f"no complete answer within {self.spec.timeout:g} s"
            except (OSError, http.client.HTTPException) as error:
                trouble = str(error) or type(error).__name__
        raise UserError(
            f"{self.spec.label} does not answer ({self.spec.retries + 1} tries, the last: {trouble}). "
            "Is the server running?"
        )

    def _send(self, request: urllib.request.Request) -> bytes:
        """Sends the request in a thread and returns the body of the answer, as `read_body` returns it. The time limit
        of a socket restarts with each received byte. This function therefore waits for the thread only until the spec's
        `timeout`, and then abandons the thread."""
        answer: Future[bytes] = Future()

        def send() -> None:
            try:
                with urllib.request.build_opener(_NoRedirects).open(request, timeout=self.spec.timeout) as response:
                    answer.set_result(read_body(response))
            except urllib.error.HTTPError as error:
                words = error.read(200).decode(errors="replace").strip() or error.reason
                answer.set_exception(urllib.error.HTTPError("", error.code, str(words), error.headers, None))
            except Exception as error:
                answer.set_exception(error)

        Thread(target=send, daemon=True).start()
        return answer.result(self.spec.timeout)

    def _parse(self, content: bytes) -> dict[str, Any]:
        if len(content) > _MOST_BYTES:
            raise UserError(f"{self.spec.label} sent an answer of more than {_MOST_BYTES >> 20} MB.")
        quoted = repr(content[:80].decode(errors="replace"))
        answer = parse_json(
            content, f"{self.spec.label} answered {quoted}, which cannot be read", pairs=refuse_repeated_keys
        )
        if not isinstance(answer, dict) or "scores" not in answer:
            raise UserError(f'{self.spec.label} answered {quoted}; it must be {{"scores": [...]}}.')
        return answer


def read_body(response: http.client.HTTPResponse) -> bytes:
    """Returns the body of an answer, but never more than its first `_MOST_BYTES + 1` bytes. A caller recognises by the
    last of these bytes that the body is too large. Raises `IncompleteRead` if the body is shorter than its
    `Content-Length`."""
    body = response.read(_MOST_BYTES + 1)
    if response.length and len(body) <= _MOST_BYTES:
        raise http.client.IncompleteRead(body, response.length)
    return body
