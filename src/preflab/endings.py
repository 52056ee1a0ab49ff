"""How a command ends that did not come to its end: what is said, and the exit code."""

from __future__ import annotations

import errno
import os
import select
import sys

from preflab.errors import UserError


def exit_code(error: BaseException) -> int:
    """Says what has happened and returns the code: 1 failed, 2 the user's mistake, 130 stopped by Ctrl-C, 141 nobody reads any
    more. Raises the error itself where it is none of these."""
    if isinstance(error, UserError):
        complain(f"preflab: {error}")
        return 2
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, BrokenPipeError) and reader_is_gone():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        complain(
            f"preflab: the disk is full ({error.filename or 'while writing'}). Make room and repeat the command; "
            "it goes on from its last checkpoint."
        )
        return 1
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and tells_of_memory(str(error).lower())):
        complain(
            "preflab: out of memory. Lower the micro-batch (--token-budget, in a study file `token_budget`), use --lora or "
            "--precision bf16, or a smaller model; nothing is lost: the same command goes on from the last checkpoint."
        )
        return 1
    raise error


def tells_of_memory(words: str) -> bool:
    return "out of memory" in words or "can't allocate memory" in words


def reader_is_gone() -> bool:
    """Who reads what is printed (`| head`) has seen enough."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def complain(text: str) -> None:
    from preflab.text import visible

    print(visible(text), file=sys.stderr)
