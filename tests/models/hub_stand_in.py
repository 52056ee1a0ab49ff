"""A hub on this machine: it takes a repository's files in one commit, and gives them back, as the Hugging Face hub does."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "c0ffee" * 6 + "c0ff"


class StandIn(BaseHTTPRequestHandler):
    """`files`: what was committed, by repository and path. `created`: what each repository was created with."""

    files: dict[str, dict[str, bytes]]
    created: dict[str, dict[str, Any]]

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/api/repos/create":
            data = json.loads(body)
            name = f"{data.get('organization') or 'me'}/{data['name']}"
            self.created[name] = data
            self._answer({"url": f"http://{self.headers['Host']}/{name}"})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            self._answer({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]})
        elif "/commit/" in self.path:
            repository = "/".join(self.path.split("/")[3:5])
            for line in body.splitlines():
                item = json.loads(line)
                if item["key"] == "file":
                    content = base64.b64decode(item["value"]["content"])
                    self.files.setdefault(repository, {})[item["value"]["path"]] = content
            address = f"http://{self.headers['Host']}/{repository}/commit/{COMMIT}"
            self._answer({"commitUrl": address, "commitOid": COMMIT})
        else:
            self.send_error(404)

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"] and "tree" in parts:
            files = self.files["/".join(parts[2:4])].items()
            self._answer([{"type": "file", "path": path, "size": len(data), "oid": "0"} for path, data in files])
        elif parts[:2] == ["api", "models"]:
            repository = "/".join(parts[2:4])
            siblings = [{"rfilename": name} for name in self.files[repository]]
            self._answer({"id": repository, "sha": COMMIT, "siblings": siblings, "private": True, "tags": []})
        elif "/".join(parts[:2]) not in self.files:
            self.send_error(404)
        else:  # USER/NAME/resolve/COMMIT/PATH
            self._send(self.files["/".join(parts[:2])]["/".join(parts[4:])])

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, data: Any) -> None:
        self._send(json.dumps(data).encode(), kind="application/json")

    def _send(self, content: bytes, kind: str = "application/octet-stream") -> None:
        self.send_response(200)
        headers = {"Content-Type": kind, "Content-Length": len(content), "X-Repo-Commit": COMMIT}
        for name, value in {**headers, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def running_hub() -> Iterator[tuple[str, type[StandIn]]]:
    """The address of a hub, and what it was sent."""

    class Handler(StandIn):
        files, created = {}, {}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", Handler
    finally:
        server.shutdown()
        server.server_close()
