"""An endpoint as a reward: one POST a batch, JSON both ways.

Out: `{"ids": [...], "prompts": [[{"role": ..., "content": ...}, ...], ...], "completions": [...], "truncated": [...]}`.
In: `{"scores": [...]}`, one number a completion, in order.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from preflab.errors import UserError
from preflab.meter import Meter
from preflab.rewards.base import Reward, RewardSpec, answer_to_json, check_scores
from preflab.spec import Context
from preflab.types import Completion, Prompt

_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}  # statuses that may not come again at the next try


class Http(RewardSpec):
    """`url`: where to POST. `batch`: completions a request. `timeout`: seconds a request.

    A request without a connection, or answered by a status such as 408, 425, 429 or 5xx, is tried `retries` times more, after
    `backoff` seconds and then twice as long each time. `token_variable` names the environment variable whose value is sent as
    bearer token, so that no secret stands in a run file.
    """

    kind: Literal["http"] = "http"
    url: str = Field(pattern=r"^https?://\S+$")
    batch: int = Field(default=256, ge=1)
    timeout: float = Field(default=60.0, gt=0)
    retries: int = Field(default=4, ge=0)
    backoff: float = Field(default=0.5, ge=0)
    token_variable: str = ""
    deterministic: bool = False

    @contextmanager
    def open(self, context: Context) -> Generator[HttpReward]:
        """Sends nothing yet. Raises `UserError` when the variable of the token is not set."""
        headers = {"Content-Type": "application/json"}
        if self.token_variable:
            if not os.environ.get(self.token_variable):
                raise UserError(f"The reward {self.url} takes its token from ${self.token_variable}, which is not set.")
            headers["Authorization"] = f"Bearer {os.environ[self.token_variable]}"
        yield HttpReward(self, headers, context.meter, self.deterministic)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Takes a redirect as an error: following it would turn the POST into a GET and give the token to another host."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


@dataclass(frozen=True)
class HttpReward(Reward):
    """The opened reward."""

    spec: Http
    headers: dict[str, str]
    meter: Meter
    deterministic: bool

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """The endpoint's scores, batch by batch; raises `UserError` when it does not answer, or answers wrongly."""
        rows = [answer_to_json(prompt, answer) for prompt, answer in zip(prompts, completions, strict=True)]
        names = {"ids": "id", "prompts": "prompt", "completions": "completion", "truncated": "truncated"}
        scores: list[float] = []
        for start in range(0, len(rows), self.spec.batch):
            part = rows[start : start + self.spec.batch]
            answer = self._post({plural: [row[name] for row in part] for plural, name in names.items()})
            scores += check_scores(answer["scores"], len(part), f"The reward {self.spec.url}")
        self.meter.labelled(len(scores))
        return scores

    def _post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(self.spec.url, json.dumps(body).encode(), self.headers, method="POST")
        opener = urllib.request.build_opener(_NoRedirects)
        trouble = ""
        for attempt in range(self.spec.retries + 1):
            if attempt:
                time.sleep(self.spec.backoff * 2 ** (attempt - 1))
            try:
                with opener.open(request, timeout=self.spec.timeout) as response:
                    return self._parse(response.read())
            except urllib.error.HTTPError as error:
                trouble = f"status {error.code}: {error.read(200).decode(errors='replace').strip() or error.reason}"
                if error.code not in _TEMPORARY:
                    raise UserError(f"The reward {self.spec.url} refused the request: {trouble}.") from error
            except (OSError, http.client.HTTPException) as error:
                trouble = str(getattr(error, "reason", error)) or type(error).__name__
        raise UserError(
            f"The reward {self.spec.url} does not answer ({self.spec.retries + 1} tries, the last: {trouble}). "
            "Is the server running?"
        )

    def _parse(self, content: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise UserError(f"The reward {self.spec.url} answered {content[:80]!r}, which is not JSON.") from error
        if not isinstance(answer, dict) or "scores" not in answer:
            raise UserError(f'The reward {self.spec.url} answered {content[:80]!r}; it must be {{"scores": [...]}}.')
        return answer
