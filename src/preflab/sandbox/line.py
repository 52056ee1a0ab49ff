"""The connection between a process in the sandbox and the judge: each side sends one ASCII line at a time."""

from __future__ import annotations

import os
from _collections_abc import Iterator


class JudgeLine:
    """Uses this process's standard input and output as the connection, and replaces both by /dev/null. Everything that
    the program prints afterwards is discarded."""

    def __init__(self) -> None:
        self.incoming, self.outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        for descriptor, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY)):
            null = os.open("/dev/null", flags)
            os.dup2(null, descriptor)
            os.close(null)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.incoming)

    def write(self, text: str) -> None:
        self.outgoing.write(text.encode("ascii") + b"\n")
        self.outgoing.flush()
