"""Runs inside the sandbox, beside the program: imports it, calls its entry point once for each line of arguments.

The judge writes a line and waits for one. Nothing here is trusted: what it writes is an answer and never a verdict.
"""

from __future__ import annotations

import importlib.util
import os
import sys

from preflab.sandbox import wire


def main(path: str, entry_point: str) -> None:
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    for descriptor, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY)):  # what the program prints is nobody's concern
        null = os.open("/dev/null", flags)
        os.dup2(null, descriptor)
        os.close(null)
    spec = importlib.util.spec_from_file_location("solution", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["solution"] = module  # dataclasses with postponed annotations look there
    spec.loader.exec_module(module)
    function = getattr(module, entry_point)
    for line in requests:
        value = function(*wire.rebuild(wire.decode(line)))
        try:
            answer = wire.encode(value)
        except wire.Foreign as error:
            raise SystemExit(f"TypeError: the returned value: {error}") from None
        answers.write(answer.encode("ascii") + b"\n")
        answers.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
