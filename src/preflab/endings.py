"""How a command that is cut short ends: its message on standard error, and its exit code."""

from __future__ import annotations

import errno
import os
import select
import sys
import traceback

from preflab.errors import UserError
from preflab.text import visible

DEFECT = 70
"""The exit code of an error that nobody expected (EX_SOFTWARE of sysexits.h)."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
DISK_FAULTS = (*FULL_DISK, errno.EIO, errno.EROFS, errno.ESTALE, errno.EFBIG, errno.EMFILE, errno.ENFILE)
"""The numbers of the errors that the place of a file causes (a full, broken, read-only or absent disk, a limit), whatever
is read or written there."""


class Stopped(SystemExit):
    """Ctrl-C or SIGTERM stopped work that the same command can continue. `place`: where it stopped, such as "after step
    12"."""

    def __init__(self, signum: int, place: str) -> None:
        super().__init__(128 + signum)
        self.exit_code = 128 + signum
        self.place = place


def report_error(error: BaseException) -> int:
    """Prints what happened and returns the exit code: 1 failed; 2 the user's mistake, or a disk that is full or fails; 70
    any other error, which is a defect of preflab; 130 stopped by Ctrl-C; 143 stopped by SIGTERM; 141 nobody reads the
    output any more."""
    if isinstance(error, Stopped):
        return print_error(f"stopped {error.place}; the same command goes on.", code=error.exit_code)
    if isinstance(error, UserError):
        return print_error(f"{error}", code=2)
    if isinstance(error, KeyboardInterrupt):
        return print_error("stopped.", code=130)
    if isinstance(error, BrokenPipeError) and reader_is_gone():
        drop_output()
        return 141
    if isinstance(error, OSError) and error.errno in DISK_FAULTS:
        drop_unwritable_output()
        return print_error(explain_disk_fault(error), code=2)
    if is_out_of_memory(error):
        return print_error(
            "out of memory. Lower the micro-batch (--token-budget, in a study file `token_budget`), use --lora or "
            "--precision bf16, or a smaller model. Nothing is lost: the same command goes on from the last checkpoint."
        )
    trace = "".join(traceback.format_exception(error))
    return print_error(f"this is a defect of preflab. Please report it with these lines.\n{trace}", code=DEFECT)


def explain_disk_fault(error: OSError) -> str:
    """Says what is wrong with a disk, where, and what to do about it."""
    place = error.filename or "while writing"
    again = "repeat the command; a run goes on from its last checkpoint."
    if error.errno in FULL_DISK:
        return f"the disk is full ({place}). Make room and {again}"
    return f"{error.strerror} ({place}). Put that right and {again}"


def is_out_of_memory(error: BaseException) -> bool:
    """Checks whether an error means that memory ran out. torch raises a `RuntimeError` then; only its text identifies it."""
    if not isinstance(error, RuntimeError):
        return isinstance(error, MemoryError)
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text


def reader_is_gone() -> bool:
    """Checks whether the program that reads standard output has closed it, as `| head` does."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def drop_unwritable_output() -> None:
    """If standard output cannot take what is still to be written on it, drops that. Python would try once more when it
    ends, and would end with an exit code of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        drop_output()


def drop_output() -> None:
    """Lets what is still written on standard output vanish."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(text: str, *, code: int = 1) -> int:
    """Prints a message on standard error, so that nothing in it acts on the terminal; returns the exit code."""
    print(visible(f"preflab: {text}"), file=sys.stderr)
    return code
