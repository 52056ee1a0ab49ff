"""How a command ends that fails: the message, and the exit code."""

from __future__ import annotations

import errno
import os
import select
import sys

from preflab.errors import UserError


def exit_code(error: BaseException) -> int:
    """Prints what has happened and returns the code: 1 failed, 2 the user's mistake, 130 stopped by Ctrl-C, 141 the reader of
    the output is gone. Raises any other error again: it is a defect of preflab."""
    if isinstance(error, UserError):
        _print_error(f"preflab: {error}")
        return 2
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, BrokenPipeError) and _is_reader_gone():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        _print_error(
            f"preflab: the disk is full ({error.filename or 'while writing'}). Make room and repeat the command; "
            "it goes on from its last checkpoint."
        )
        return 1
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _names_memory(str(error).lower())):
        _print_error(
            "preflab: out of memory. Lower the micro-batch (--token-budget, in a study file `token_budget`), use --lora or "
            "--precision bf16, or a smaller model; nothing is lost: the same command goes on from the last checkpoint."
        )
        return 1
    raise error


def _names_memory(words: str) -> bool:
    """Whether a message of torch, in lower case, is about a lack of memory."""
    return "out of memory" in words or "can't allocate memory" in words


def _is_reader_gone() -> bool:
    """Whether the program that reads the output (`| head`) has ended."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _print_error(text: str) -> None:
    from preflab.report.text import visible

    print(visible(text), file=sys.stderr)
