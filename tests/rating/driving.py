"""Drives a headless browser over the DevTools protocol's pipe, so that keys are pressed as a person presses them."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-pipe"
)
PATIENCE = 60.0
CODES = {"ArrowLeft": 37, "ArrowRight": 39}


class Browser:
    """One page of a browser. `console`: what it wrote on its console, and its uncaught errors."""

    def __init__(self, process: subprocess.Popen[bytes], to: int, back: int) -> None:
        self.process, self.to, self.back = process, to, back
        self.number = 0
        self.session = ""
        self.rest = b""
        self.console: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """Sends a command and returns its result."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._receive()
            if reply.get("id") == self.number:
                assert "error" not in reply, reply["error"]
                return reply["result"]

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.rest:
            assert select.select([self.back], [], [], max(0.0, end - time.monotonic()))[0], (
                "the browser does not answer"
            )
            self.rest += os.read(self.back, 1 << 20)
        line, _, self.rest = self.rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        parameters = message.get("params", {})
        if message.get("method") == "Log.entryAdded":
            self.console.append(parameters["entry"]["text"])
        elif message.get("method") == "Runtime.consoleAPICalled":
            self.console.append(str([each.get("value") for each in parameters["args"]]))
        elif message.get("method") == "Runtime.exceptionThrown":
            self.console.append(str(parameters["exceptionDetails"]))
        elif message.get("method") == "Page.javascriptDialogOpening":
            self.console.append(f"dialog: {parameters['message']}")
        return message

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, address: str) -> None:
        self.send("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && document.getElementById('form') !== null")

    def value(self, expression: str) -> Any:
        """The value of an expression in the page."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Waits until a condition holds in the page."""
        end = time.monotonic() + PATIENCE
        while not self.value(condition):
            assert time.monotonic() < end, f"{condition}: {self.value('document.body.innerText')}, {self.console}"
            time.sleep(0.02)

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def press(self, key: str) -> None:
        code = CODES.get(key, ord(key.upper()[0]) if len(key) == 1 else 13)
        typed = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        parameters = {"key": key, "windowsVirtualKeyCode": code, **typed}
        self.send("Input.dispatchKeyEvent", type="keyDown", **parameters)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def begin(self, rater: str) -> None:
        """Types a name and begins."""
        self.value("document.getElementById('name').select(), document.getElementById('name').focus()")
        self.type(rater)
        self.press("Enter")
        self.wait("!document.getElementById('task').hidden")

    def count(self) -> int:
        """How many pairs have a label, as the page says."""
        return int(self.value("document.getElementById('progress').textContent.split(' ')[0]"))

    def text(self, name: str) -> str:
        return self.value(f"document.getElementById('{name}').textContent")

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def open_browser(chromium: str, folder: Path) -> Generator[Browser]:
    """Opens a browser whose profile and downloads lie in `folder`."""
    (to_read, to), (back, back_write) = os.pipe(), os.pipe()

    def place() -> None:  # the protocol's pipe is on the descriptors 3 and 4
        kept = [os.dup(to_read), os.dup(back_write)]
        for source, target in zip(kept, (3, 4), strict=True):
            os.dup2(source, target, inheritable=True)

    command = [chromium, *FLAGS.split(), f"--user-data-dir={folder / 'profile'}", "about:blank"]
    output = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=output, stderr=output, close_fds=False, preexec_fn=place)
    os.close(to_read)
    os.close(back_write)
    try:
        browser = Browser(process, to, back)
        session, browser.session = browser.session, ""
        browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        browser.session = session
        yield browser
        browser.session = ""
        with suppress(OSError):
            browser.send("Browser.close")
    finally:
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        os.close(to)
        os.close(back)
