"""Calls the Hugging Face hub with a time limit, and shortens the hub's errors to one line. This module does not import
torch."""

from __future__ import annotations

import threading
from collections.abc import Callable


def call_in_time(call: Callable[[], object], seconds: float) -> Exception | None:
    """Calls `call`. Returns None if `call` returns, and the exception if `call` raises an exception. Returns a
    `TimeoutError` if `call` has not ended after `seconds`.

    `call` runs in a separate thread, because the time limits of the hub's client do not include the look-up of a host
    name.
    """
    outcome: list[Exception | None] = []

    def run() -> None:
        try:
            call()
            outcome.append(None)
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0] if outcome else TimeoutError(f"no answer within {seconds:g} s")


def first_line(error: Exception) -> str:
    """Returns the first line of an error's text, cut after 300 characters. If the error has no text, returns the name
    of its class."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
