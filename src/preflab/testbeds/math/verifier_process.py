"""Compares answers with math-verify. `verifier.py` runs this file as a separate process. The file does not import
preflab.

The process reads one JSON object `{"right", "answer"}` from each line of its standard input, and replies with one line,
true or false. The memory of the process is limited, and `verifier.py` ends the process if a comparison takes too long.
Without these limits, an answer such as 9^{9^{9^9}} would use up all memory and time.
"""

from __future__ import annotations

import json
import logging
import resource
import sys

_STEP_SECONDS = 2
"""The time limit that math-verify applies to each of its steps, in seconds. math-verify enforces the limit by a signal,
which can interrupt only between two Python instructions."""
_MOST_BYTES = 4 << 30


def _compare(right: str, answer: str) -> bool:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    ways = [LatexExtractionConfig(), ExprExtractionConfig()]
    wanted, given = (parse(f"${text}$", ways, parsing_timeout=_STEP_SECONDS) for text in (right, answer))
    return bool(wanted) and bool(given) and verify(wanted, given, timeout_seconds=_STEP_SECONDS)


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    _compare("1", "1")
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            same = _compare(request["right"], request["answer"])
        except Exception:  # sympy can raise any exception, even MemoryError, if an answer is not mathematics
            same = False
        print(json.dumps(same), flush=True)


if __name__ == "__main__":
    _main()
