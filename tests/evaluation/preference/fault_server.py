"""A server on this machine that speaks the chat-completions protocol, breaks in every known way, and counts its calls.

`FaultServer(reply)` answers each request with `reply(prompt)`. `faults`: names of faults, the first for the first request
of every prompt, and so on; after the last one it answers well. A request that is answered well is written to `answered`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

FAULTS = ("429", "500", "time-out", "half a body", "nonsense", "no content", "slow drip")
SLOW = 30.0
"""Seconds, longer than the time-out of any test."""


class HalfBody(Response):
    """Promises more bytes than it sends, and then breaks the connection."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b'{"choices": [{"mess'
        headers = [(b"content-type", b"application/json"), (b"content-length", b"400")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        raise ConnectionAbortedError("half a body")


class FaultServer:
    def __init__(
        self, reply: Callable[[str], str], faults: Sequence[str] = (), *, delay: float = 0.0, echo_key: bool = False
    ) -> None:
        self.reply = reply
        self.faults = faults
        self.delay = delay
        self.echo_key = echo_key
        self.calls = 0
        self.answered: Counter[str] = Counter()
        self.tries: Counter[str] = Counter()
        self.running = 0
        self.most_running = 0
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()

    def __enter__(self) -> Self:
        app = Starlette(routes=[Route("/v1/chat/completions", self.complete, methods=["POST"])])
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/v1"

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        prompt = body["messages"][-1]["content"]
        key = hashlib.sha256(prompt.encode()).hexdigest()
        self.calls += 1
        self.bodies.append(body)
        self.keys.add(request.headers.get("authorization", ""))
        place = self.tries[key]
        self.tries[key] += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.delay)
            if place < len(self.faults):
                return await self.fail(self.faults[place], request)
            self.answered[key] += 1
            return JSONResponse(completion(self.reply(prompt)))
        finally:
            self.running -= 1

    async def fail(self, fault: str, request: Request) -> Response:
        words = request.headers.get("authorization", "") if self.echo_key else "broken"
        if fault == "time-out":
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(SLOW)
        if fault == "slow drip":
            return StreamingResponse(drip(), media_type="application/json")
        if fault == "half a body":
            return HalfBody()
        if fault == "nonsense":
            return PlainTextResponse(f"<html>{words}</html>")
        if fault == "no content":
            return JSONResponse({"choices": []})
        headers = {"Retry-After": "0"} if fault == "429" else {}
        return JSONResponse({"error": {"message": words}}, status_code=int(fault or 500), headers=headers)


def completion(text: str, finish: str = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}


async def drip() -> AsyncIterator[str]:
    """A good body, one byte every tenth of a second."""
    for byte in json.dumps(completion("More helpful: A")):
        await asyncio.sleep(0.1)
        yield byte
