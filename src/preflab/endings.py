"""Handles the errors and signals that end a command: prints a message on standard error and returns the exit code."""

from __future__ import annotations

import errno
import os
import select
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager

from preflab.errors import UserError
from preflab.targets import where_raised
from preflab.text import visible

DEFECT = 70
"""The exit code of a defect of preflab (EX_SOFTWARE of sysexits.h)."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
DISK_FAULTS = (*FULL_DISK, errno.EIO, errno.EROFS, errno.ESTALE, errno.EFBIG, errno.EMFILE, errno.ENFILE)
"""The numbers of the errors that a disk or a limit of the system causes: the disk is full, broken, read-only or absent,
a file is too large, or too many files are open. Neither preflab nor the data cause these errors."""


class Stopped(SystemExit):
    """Raised when Ctrl-C or SIGTERM stops a run. The same command can continue the run later. `place`: where the run
    stopped, such as "after step 12"."""

    def __init__(self, signum: int, place: str) -> None:
        super().__init__(128 + signum)
        self.exit_code = 128 + signum
        self.place = place


def report_error(error: BaseException) -> int:
    """Prints a message about the error and returns the exit code. The exit code is 1 if memory ran out. It is 2 for a
    mistake of the user or a fault of a disk, 130 for Ctrl-C, and 143 for SIGTERM. It is 141 if the program that reads
    the output has closed the pipe. Any other error is a defect of preflab and gives 70."""
    if isinstance(error, Stopped):
        return print_error(f"stopped {error.place}; repeat the same command to continue.", code=error.exit_code)
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
            "out of memory. Lower the micro-batch size (--token-budget, in a study file `token_budget`), use "
            "--checkpoint-activations, --lora or --precision bf16, or use a smaller model. The same command then "
            "continues from the last checkpoint."
        )
    trace = "".join(traceback.format_exception(error))
    return print_error(f"this is a defect of preflab. Report it with the lines below.\n{trace}", code=DEFECT)


@contextmanager
def blaming(source: str) -> Generator[None]:
    """A context for code from outside preflab. If this code raises an error, the context raises a `UserError` with the
    name of the code (`source`) and the line that failed. The context does not change a `UserError`, `Stopped`, or an
    error because of memory or a disk."""
    try:
        yield
    except (UserError, Stopped):
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno in DISK_FAULTS):
            raise
        raise UserError(f"{source} failed at {where_raised(error)}: {type(error).__name__}: {error}") from error


def explain_disk_fault(error: OSError) -> str:
    """Returns the message about a fault of a disk. The message says what is wrong, where, and what to do."""
    place = error.filename or "while writing"
    again = "repeat the command; a run continues from its last checkpoint."
    if error.errno in FULL_DISK:
        return f"the disk is full ({place}). Free some space and {again}"
    return f"{error.strerror} ({place}). Correct this and {again}"


def is_out_of_memory(error: BaseException) -> bool:
    """Checks whether an error means that memory ran out. For a lack of memory, torch raises a `RuntimeError`. Only the
    text of this error distinguishes it from other errors."""
    if not isinstance(error, RuntimeError):
        return isinstance(error, MemoryError)
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text


def reader_is_gone() -> bool:
    """Checks whether the program that reads this process's standard output has closed the pipe, as `| head` does."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def drop_unwritable_output() -> None:
    """Drops the buffered output if it cannot be written to standard output. Otherwise Python would try to write this
    output again when Python ends, and would then change the exit code."""
    try:
        sys.stdout.flush()
    except OSError:
        drop_output()


def drop_output() -> None:
    """Discards the buffered output, and everything that is written to standard output from now on."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(text: str, *, code: int = 1) -> int:
    """Prints a message on standard error and returns the exit code. Control characters in the message are printed as
    visible text."""
    print(visible(f"preflab: {text}"), file=sys.stderr)
    return code
