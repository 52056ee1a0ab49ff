"""Asks a model behind an OpenAI-compatible endpoint. Sends requests in parallel, retries with back-off, caches replies,
and caps the calls and the cost.

The API key comes from an environment variable and is sent only to the endpoint. No file, message or record contains it.
This module does not import torch.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, ValidationError

from preflab.errors import UserError
from preflab.evaluation.preference.completion import read_completion, read_model_names
from preflab.evaluation.preference.estimate import CallEstimate, count_tokens
from preflab.evaluation.preference.replies import ModelReply, make_key, open_cache
from preflab.fields import Count, Seconds
from preflab.rewards.http import check_address
from preflab.spec import Spec
from preflab.text import one_line

if TYPE_CHECKING:
    from openai import AsyncOpenAI

OPENAI = "https://api.openai.com/v1"
TEMPORARY = (408, 409, 425, 429)
"""A request is sent again after one of these HTTP statuses, and after every status of 500 or above."""
REFUSED = (401, 403)
"""The HTTP statuses of an endpoint that refuses the key."""
Messages = Sequence[Mapping[str, str]]


def _check_base(url: str) -> str:
    address = check_address(url)
    if "?" in address or "#" in address:
        raise ValueError(
            "a base address must not contain a query: put a key into an environment variable instead of the address"
        )
    return address.rstrip("/")


def _check_request(request: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Checks the user's additional fields of a request, and returns them. Raises `ValueError` if preflab sets one of
    these fields itself, or if a field would change the form of the reply."""
    fixed = next((name for name in ("model", "messages", "prompt", "stream", "n") if name in request), None)
    if fixed is not None:
        raise ValueError(f"the field `{fixed}` of a request cannot be changed")
    return request


class EndpointSettings(Spec):
    """base_url: the address of the endpoint, up to and including `/v1`. key_variable: the environment variable with the
    API key. concurrency: the largest number of requests at a time. timeout: the time limit in seconds for one reply,
    from the request to the last byte. retries: the largest number of times that a request is sent again. A request is
    sent again after a broken connection, a time-out, or a reply that is not a chat completion. A request is also sent
    again after the HTTP statuses 408, 409, 425 and 429, and after every status of 500 or above. backoff: the first wait
    in seconds; each further wait is twice as long, up to `longest_wait`. max_calls: the largest number of requests; a
    request counts each time it is sent. max_cost: the largest cost of all requests. price_in: the price of a million
    tokens in requests. price_out: the price of a million tokens in replies. request: additional fields of a request;
    the value null removes a field. cache: the directory of the cache; '' for the default directory.
    """

    base_url: Annotated[str, AfterValidator(_check_base)] = OPENAI
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = Field(default=8, ge=1, le=256)
    timeout: Seconds = 120.0
    retries: int = Field(default=6, ge=0, le=20)
    backoff: float = Field(default=1.0, ge=0, le=60)
    longest_wait: float = Field(default=60.0, ge=0, le=3600)
    max_calls: Count = 5000
    price_in: float | None = Field(default=None, ge=0)
    price_out: float | None = Field(default=None, ge=0)
    max_cost: float | None = Field(default=None, gt=0)
    request: Annotated[dict[str, JsonValue], AfterValidator(_check_request)] = {}
    cache: str = ""


@dataclass
class EndpointUse:
    """Counts the requests that one command sends to all models, and adds up the cost of the requests. sent: the number
    of requests. spent: the cost of the requests; a request of unknown cost counts as 0."""

    sent: int = 0
    spent: float = 0.0


class Endpoint:
    """Sends requests for one model to an endpoint. `max_tokens`: the largest number of tokens in a reply. `use`: counts
    the requests and the cost against the caps."""

    def __init__(
        self, model: str, settings: EndpointSettings, use: EndpointUse | None = None, *, max_tokens: int
    ) -> None:
        self.model = model
        self.settings = settings
        self.max_tokens = max_tokens
        self.use = EndpointUse() if use is None else use
        self._key = read_key(settings)
        if settings.max_cost is not None and (settings.price_in is None or settings.price_out is None):
            raise UserError("A cap on the cost needs the prices of a million tokens. Set --price-in and --price-out.")
        self.cache = open_cache(settings.cache, [settings.base_url, model])

    @property
    def label(self) -> str:
        """The name of the endpoint in messages."""
        return f"The model {self.model} at {self.settings.base_url}"

    def make_body(self, messages: Messages, **fields: JsonValue) -> dict[str, Any]:
        """Returns the body of a request for a chat completion. `fields`: additional fields of the body.
        `EndpointSettings.request` can replace or remove these fields."""
        return self._finish_body({"messages": [dict(message) for message in messages], **fields})

    def make_plain_body(self, prompt: str, **fields: JsonValue) -> dict[str, Any]:
        """Returns the body of a request for a plain completion, which continues the text `prompt`. `fields`: as for
        `make_body`."""
        return self._finish_body({"prompt": prompt, **fields})

    def _finish_body(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        body = {"model": self.model, **fields, **self.settings.request}
        return {name: value for name, value in body.items() if value is not None}

    def make_request_keys(self, bodies: Sequence[Mapping[str, Any]], draws: Sequence[int] = ()) -> list[str]:
        """Returns the key of each request in the cache. Equal requests have equal keys, and are sent once. `draws`: one
        number for each request. If a body has no `seed`, its number is part of its key, so that several draws of one
        answer are several requests."""
        keys: list[str] = []
        for place, body in enumerate(bodies):
            content: dict[str, Any] = {"base_url": self.settings.base_url, "body": body}
            keys.append(make_key(content | ({"draw": draws[place]} if draws and "seed" not in body else {})))
        return keys

    def estimate(self, bodies: Sequence[Mapping[str, Any]], draws: Sequence[int] = ()) -> CallEstimate:
        """Returns an estimate of the number of calls and of their cost. A request whose reply is in the cache needs no
        call. `draws`: see `make_request_keys`."""
        wanted = dict(zip(self.make_request_keys(bodies, draws), bodies, strict=True))
        missing = [body for key, body in wanted.items() if self.cache.get(key) is None]
        tokens_in = count_tokens([text for body in missing for text in _texts(body)])
        tokens_out = len(missing) * self.max_tokens
        cost = self._cost(tokens_in, tokens_out)
        return CallEstimate(len(missing), len(wanted) - len(missing), tokens_in, tokens_out, cost)

    def check_caps(self, estimate: CallEstimate) -> None:
        """Raises `UserError` if the estimated calls would exceed the cap on calls, or the cap on the cost."""
        settings = self.settings
        calls, cost = self.use.sent + estimate.calls, self.use.spent + (estimate.cost or 0.0)
        if calls > settings.max_calls:
            raise UserError(
                f"{self.label} would get {calls:,} requests, but the cap is {settings.max_calls:,}. Ask about fewer "
                "prompts, or raise --max-calls (`max_calls`). Nothing was asked."
            )
        if settings.max_cost is not None and cost > settings.max_cost:
            raise UserError(
                f"{self.label} would cost up to {cost:,.2f}, but the cap is {settings.max_cost:,.2f}. Ask about fewer "
                "prompts, or raise --max-cost (`max_cost`). Nothing was asked."
            )

    def ask(self, bodies: Sequence[Mapping[str, Any]], draws: Sequence[int] = ()) -> list[ModelReply]:
        """Returns the reply to each request. Sends only requests whose replies are not in the cache, and writes each
        new reply to the cache. `draws`: see `make_request_keys`. Raises `UserError` if a cap would be exceeded, or if
        the endpoint does not answer. The replies that arrived before the error stay in the cache."""
        self.check_caps(self.estimate(bodies, draws))
        keys = self.make_request_keys(bodies, draws)
        todo = {key: body for key, body in zip(keys, bodies, strict=True) if self.cache.get(key) is None}
        if todo:
            _run(lambda: self._ask_all(todo))
        return [self.cache.replies[key] for key in keys]

    def check_model(self) -> None:
        """Asks the endpoint once for the list of its models. Raises `UserError` if the endpoint cannot be reached, if
        it refuses the key, or if the model is not in the list. An endpoint without such a list passes this check."""
        _run(self._check_model)

    async def _check_model(self) -> None:
        import openai

        try:
            async with self._client() as client, asyncio.timeout(self.settings.timeout):
                names = read_model_names((await client.models.with_raw_response.list()).text)
        except openai.APIStatusError as error:
            if error.status_code not in REFUSED:
                return
            raise UserError(
                f"{self.label} refused the key in {self.settings.key_variable}: status {error.status_code}: "
                f"{self._clean(error.message)}"
            ) from None
        except (openai.APIConnectionError, TimeoutError) as error:
            raise UserError(
                f"{self.label} cannot be reached: {self._clean(str(error.__cause__ or error) or 'no reply')}. Start the "
                "server, or correct its address (--base-url, `base_url`)."
            ) from None
        except (openai.OpenAIError, UserError, ValueError):  # the list has another form
            return
        if names and not any(name == self.model or name.startswith(f"{self.model}:") for name in names):
            raise UserError(f"{self.label} does not exist there. The server has: {', '.join(names[:10])}.")

    async def _ask_all(self, todo: Mapping[str, Mapping[str, Any]]) -> None:
        waiting = iter(todo.items())
        try:
            async with self._client() as client, asyncio.TaskGroup() as group:
                for _ in range(min(self.settings.concurrency, len(todo))):
                    group.create_task(self._work(client, waiting))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    def _client(self) -> AbstractAsyncContextManager[AsyncOpenAI]:
        from openai import AsyncOpenAI

        settings = self.settings
        return AsyncOpenAI(
            api_key=self._key or "none", base_url=settings.base_url, max_retries=0, timeout=settings.timeout
        )

    async def _work(self, client: AsyncOpenAI, waiting: Iterator[tuple[str, Mapping[str, Any]]]) -> None:
        """Does the work of one of the `concurrency` workers that send requests in parallel. Sends one waiting request
        after another, and writes each reply to the cache before the worker sends its next request. If the process is
        killed, each worker therefore loses at most one reply."""
        for key, body in waiting:
            reply = await self._ask_patiently(client, body)
            self.cache.add(key, reply)
            self.use.spent += self._cost(reply.tokens_in, reply.tokens_out) or 0.0

    async def _ask_patiently(self, client: AsyncOpenAI, body: Mapping[str, Any]) -> ModelReply:
        trouble = ""
        for attempt in range(self.settings.retries + 1):
            self._check_spent()
            self.use.sent += 1
            try:
                async with asyncio.timeout(self.settings.timeout):
                    return self._read(await self._send(client, body))
            except TemporaryTrouble as error:
                trouble, wait = str(error), error.wait
            except TimeoutError:
                trouble, wait = f"no complete reply within {self.settings.timeout:g} s", 0.0
            if attempt < self.settings.retries:
                await asyncio.sleep(self._pick_wait(attempt, wait))
        raise UserError(
            f"{self.label} does not answer ({self.settings.retries + 1} tries, the last: {trouble}). The replies so far are "
            "kept: repeat the command to continue."
        )

    def _pick_wait(self, attempt: int, wait: float) -> float:
        """Returns the number of seconds until the next try: the longer of two waits, but at most `longest_wait`. One is
        `wait`, which the endpoint requests. The other is the back-off, which doubles with each try. The back-off is
        partly random, so that several workers do not try again at the same moment."""
        doubled = self.settings.backoff * 2**attempt * random.uniform(0.5, 1.0)
        return min(max(doubled, wait), self.settings.longest_wait)

    def _check_spent(self) -> None:
        settings, kept = self.settings, "The replies so far are kept."
        if self.use.sent >= settings.max_calls:
            raise UserError(
                f"{self.label} has got {self.use.sent:,} requests, including repeated requests. This is the cap. {kept} "
                "Raise --max-calls."
            )
        if settings.max_cost is not None and self.use.spent >= settings.max_cost:
            raise UserError(
                f"{self.label} has cost {self.use.spent:,.2f}, so the cap is reached. {kept} Raise --max-cost."
            )

    async def _send(self, client: AsyncOpenAI, body: Mapping[str, Any]) -> str:
        """Sends a request, and returns the text of the endpoint's answer. Raises `TemporaryTrouble` if another try may
        succeed."""
        import openai

        rest = {name: value for name, value in body.items() if name not in ("model", "messages", "prompt")}
        try:
            if "prompt" in body:
                plain = client.completions.with_raw_response
                return (await plain.create(model=body["model"], prompt=body["prompt"], extra_body=rest)).text
            chat = client.chat.completions.with_raw_response
            return (await chat.create(model=body["model"], messages=body["messages"], extra_body=rest)).text
        except openai.APIStatusError as error:
            words = f"status {error.status_code}: {self._clean(error.message)}"
            if error.status_code in TEMPORARY or error.status_code >= 500:
                raise TemporaryTrouble(words, _read_wait(error.response.headers.get("retry-after"))) from None
            raise UserError(f"{self.label} refused the request: {words}") from None
        except openai.APITimeoutError:
            raise TemporaryTrouble(f"no complete reply within {self.settings.timeout:g} s") from None
        except openai.APIConnectionError as error:
            raise TemporaryTrouble(self._clean(str(error.__cause__ or error))) from None
        except (openai.OpenAIError, ValueError) as error:  # such as a body that is not UTF-8
            raise TemporaryTrouble(self._clean(str(error))) from None

    def _read(self, text: str) -> ModelReply:
        """Reads the body of the endpoint's answer, and returns the model's reply. Raises `TemporaryTrouble` if the body
        is not a completion."""
        try:
            reply = read_completion(text)
        except (UserError, ValidationError):
            raise TemporaryTrouble(f"a body that is not a completion: {self._clean(text[:80])!r}") from None
        return replace(reply, text=self._hide(reply.text))

    def _cost(self, tokens_in: int, tokens_out: int) -> float | None:
        price_in, price_out = self.settings.price_in, self.settings.price_out
        if price_in is None and price_out is None:
            return None
        return (tokens_in * (price_in or 0.0) + tokens_out * (price_out or 0.0)) / 1e6

    def _clean(self, text: str) -> str:
        return self._hide(one_line(text)[:300])

    def _hide(self, text: str) -> str:
        """Replaces the API key in a text from the endpoint by `(key)`, because an endpoint might repeat the key."""
        return text.replace(self._key, "(key)") if self._key else text


def _texts(body: Mapping[str, Any]) -> list[str]:
    """Returns the texts that a request sends to the model."""
    return [body["prompt"]] if "prompt" in body else [message["content"] for message in body["messages"]]


def _run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a coroutine to its end. `work`: makes the coroutine."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # usually, this thread does not run an event loop, and can start a loop
        asyncio.run(work())
    else:  # in a notebook, this thread runs an event loop, so another thread must start a loop
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(work())).result()


class TemporaryTrouble(Exception):
    """Raised if a request failed but might succeed when it is sent again. `wait`: the number of seconds that the
    endpoint wants preflab to wait before the next try."""

    def __init__(self, words: str, wait: float = 0.0) -> None:
        super().__init__(words)
        self.wait = wait


def read_key(settings: EndpointSettings) -> str:
    """Returns the API key from the environment variable `key_variable`. If the variable is not set, raises `UserError`
    for OpenAI's endpoint. For any other endpoint, which may work without a key, returns ''. Raises `UserError` if the
    key contains a line end, another control character, or a character that is not ASCII."""
    key = os.environ.get(settings.key_variable, "")
    if not key and settings.base_url == OPENAI:
        raise UserError(
            f"The endpoint {OPENAI} needs a key in the environment variable {settings.key_variable}, which is not set. Set it, "
            "or name another endpoint with --base-url."
        )
    if not (key.isascii() and key.isprintable()):
        raise UserError(
            f"The environment variable {settings.key_variable} is not a valid key. It contains a line end or a character "
            "that is not ASCII."
        )
    return key


def _read_wait(header: str | None) -> float:
    try:
        return max(0.0, float(header or 0))
    except ValueError:  # the header Retry-After contains a date instead of seconds
        return 0.0
