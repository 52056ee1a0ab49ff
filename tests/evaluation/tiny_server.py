"""A small server on this machine that speaks OpenAI's protocol for a policy, and notes what it is asked.

`TinyServer(reply)` answers each request with `reply(text, seed)`, where `text` is the last message or the plain prompt.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class TinyServer:
    """models: the names that the server lists. status: the HTTP status of every answer. usage: whether the server counts
    tokens. refuse_after: the number of completions after which every further one fails with status 500."""

    def __init__(
        self,
        reply: Callable[[str, int], str],
        *,
        models: tuple[str, ...] = ("m",),
        status: int = 200,
        usage: bool = True,
        refuse_after: int | None = None,
    ) -> None:
        self.reply = reply
        self.models = models
        self.status = status
        self.usage = usage
        self.refuse_after = refuse_after
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.keys: set[str] = set()
        self.lock = threading.Lock()

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                """Keeps the output of the tests clean."""

            def do_GET(self) -> None:
                outer.send(self, {"object": "list", "data": [{"id": name, "object": "model"} for name in outer.models]})

            def do_POST(self) -> None:
                outer.complete(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join(10)
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"

    def send(self, handler: BaseHTTPRequestHandler, data: dict[str, Any], status: int | None = None) -> None:
        self.keys.add(handler.headers.get("Authorization", ""))
        status = self.status if status is None else status
        body = json.dumps(data if status == 200 else {"error": {"message": "no entry"}}).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def complete(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            if self.refuse_after is not None and len(self.requests) >= self.refuse_after:
                self.send(handler, {}, 500)
                return
            self.requests.append((handler.path, body))
        plain = "prompt" in body
        text = body["prompt"] if plain else body["messages"][-1]["content"]
        answer = self.reply(text, body.get("seed", 0))
        choice = {"text": answer} if plain else {"message": {"role": "assistant", "content": answer}}
        usage = {"prompt_tokens": len(text.split()), "completion_tokens": len(answer.split())}
        data = {"object": "x", "choices": [choice | {"index": 0, "finish_reason": "stop"}]}
        self.send(handler, data | ({"usage": usage} if self.usage else {}))
