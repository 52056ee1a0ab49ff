"""One side of a benchmark, in a process and an environment of its own: a JSON request a line in, a JSON answer a line out.

    PYTHON benchmarks/worker.py MODULE    MODULE is the name of a file in benchmarks/sides

"prepare" loads the weights and the rows, "repeat" does the row's work once and answers its wall seconds, its CPU seconds and
the units of work. What the libraries print goes to the standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # the repository, not this folder


def serve(module: Any) -> None:
    """Answers the requests on the standard input until it is closed."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    repeat: Callable[[], dict[str, Any]] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "prepare":
                repeat = module.prepare(request)
                answer: dict[str, Any] = {"pid": os.getpid()}
            else:
                assert repeat is not None, "the first request must be `prepare`"
                answer = repeat()
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(importlib.import_module(f"benchmarks.sides.{sys.argv[1]}"))
