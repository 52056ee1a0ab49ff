"""A reward that is a program in any language. The program reads one JSON object per line and answers with one line.

In: `{"request": "17", "id": ..., "prompt": [{"role": ..., "content": ...}, ...], "completion": ..., "truncated": ...}`.
Out: `{"request": "17", "score": number}`. Each line has a different value of `request`. The program must send this
value back, so that preflab can match answers to requests. The program must print nothing else on standard output, and
must flush each line. The program should exit when its standard input ends. The input also ends when preflab is killed.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import shlex
import signal
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any, Literal

from preflab.errors import UserError
from preflab.fields import Seconds
from preflab.meter import Meter
from preflab.plain import parse_json, refuse_repeated_keys
from preflab.rewards.base import Reward, RewardSpec, answer_to_json, check_score
from preflab.spec import Context
from preflab.types import Completion, Prompt
from preflab.work import report_each

_PATIENCE = 5.0  # the number of seconds that the program has to exit after its input is closed
_TAIL = 2000  # the number of characters of the program's error output that a message quotes
_MOST_BYTES = 1 << 20  # the largest size of an answer
_CHUNK = 1 << 16
_ADVICE = "Print only answers on standard output, and everything else on standard error"


class Command(RewardSpec):
    """The settings of a reward that is a program. `command`: the program and its arguments, split like a shell command
    but run without a shell. `timeout`: the number of seconds that an answer may take."""

    kind: Literal["command"] = "command"
    command: str
    timeout: Seconds = 60.0
    deterministic: bool = False

    @contextmanager
    def open(self, context: Context) -> Generator[CommandReward]:
        """Starts the program, and ends it when the context is closed. Raises `UserError` if the program does not
        start."""
        with closing(CommandReward(self, context.meter)) as reward:
            yield reward


class _ProcessFailed(Exception):
    """Raised if the program exited or did not answer in time."""


class CommandReward(Reward):
    """Sends answers to the running program, which scores them."""

    def __init__(self, spec: Command, meter: Meter) -> None:
        self.deterministic = spec.deterministic
        self._spec = spec
        self._meter = meter
        self._program = RewardProcess(spec.command)

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """For each completion, sends one line and reads one line back. If the program exits or does not answer in time,
        restarts the program and sends the line again. Raises `UserError` if this second attempt fails too."""
        pairs = report_each("answers scored", zip(prompts, completions, strict=True), len(prompts))
        scores = [self._ask(answer_to_json(prompt, answer)) for prompt, answer in pairs]
        self._meter.labelled(len(scores))
        return scores

    def close(self) -> None:
        """Ends the program: closes the program's input, gives the program time to exit, then kills what is left of
        it."""
        self._program.close()

    def _ask(self, row: dict[str, Any]) -> float:
        request = secrets.token_hex(4)  # random, so that a program cannot answer a request before it reads the request
        line = json.dumps({"request": request, **row}).encode() + b"\n"
        try:
            reply = self._program.ask(line, self._spec.timeout)
        except _ProcessFailed:
            self._program.close()
            self._program = RewardProcess(self._spec.command)
            try:
                reply = self._program.ask(line, self._spec.timeout)
            except _ProcessFailed as error:
                raise UserError(f"The reward command {self._spec.command!r} {error} (tried twice).") from error
        source = f"The reward command {self._spec.command!r}, on prompt {row['id']!r}"
        quoted = repr(reply[:80].decode(errors="replace").strip())
        answer = parse_json(reply, f"{source}, answered {quoted}. {_ADVICE}", pairs=refuse_repeated_keys)
        if not isinstance(answer, dict) or answer.get("request") != request:
            raise UserError(
                f"{source}, answered {quoted}: the answer to this request must be "
                f'{{"request": "{request}", "score": ...}}. {_ADVICE}.'
            )
        return check_score(answer.get("score"), source)


class RewardProcess:
    """The child process of a reward program, in its own process group, with a file for its error output."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the program)
        try:
            words = shlex.split(command)
            self._process = Popen(
                words, stdin=PIPE, stdout=PIPE, stderr=self._errors, bufsize=0, start_new_session=True
            )
        except (OSError, ValueError, IndexError) as error:
            self._errors.close()
            raise UserError(f"The reward command {command!r} does not start: {error}.") from error
        assert self._process.stdin is not None and self._process.stdout is not None  # they are pipes
        self._input, self._output = self._process.stdin, self._process.stdout
        # A program can write before it has read the whole request. A write that blocks could then wait forever.
        os.set_blocking(self._input.fileno(), False)

    def ask(self, line: bytes, timeout: float) -> bytes:
        """Sends `line` to the program and returns the program's answer, one line. Raises `_ProcessFailed` if the
        program does not answer within `timeout` seconds, and `UserError` if the program prints more than one line."""
        deadline = time.monotonic() + timeout
        unsent, reply = memoryview(line), bytearray()
        with selectors.DefaultSelector() as ready:
            ready.register(self._output, selectors.EVENT_READ)
            ready.register(self._input, selectors.EVENT_WRITE)
            while unsent or not reply.endswith(b"\n"):
                events = ready.select(max(0.0, deadline - time.monotonic()))
                if not events:
                    advice = f"Check that the program flushes each line, or raise `timeout`.{self._quote_errors()}"
                    raise _ProcessFailed(f"gave no answer within {timeout:g} s. {advice}")
                for key, _ in events:
                    if key.fileobj is self._output:
                        reply += self._read()
                        self._refuse_more_than_a_line(reply)
                    else:
                        unsent = unsent[self._write(unsent) :]
                        if not unsent:
                            ready.unregister(self._input)
        return bytes(reply)

    def _read(self) -> bytes:
        chunk = os.read(self._output.fileno(), _CHUNK)
        if not chunk:
            raise _ProcessFailed(self._explain_end())
        return chunk

    def _write(self, unsent: memoryview) -> int:
        try:
            return os.write(self._input.fileno(), unsent[:_CHUNK])
        except OSError as error:
            raise _ProcessFailed(self._explain_end()) from error

    def _refuse_more_than_a_line(self, reply: bytearray) -> None:
        if b"\n" in reply[:-1] or len(reply) > _MOST_BYTES:
            quoted = repr(bytes(reply[:80]).decode(errors="replace"))
            raise UserError(
                f"The reward command {self._command!r} printed {quoted}, which is more than one answer. {_ADVICE}."
            )

    def close(self) -> None:
        """Closes the program's input and gives the program `_PATIENCE` seconds to exit. Then kills every process that
        is left in the program's process group."""
        with suppress(OSError):
            self._input.close()
        self._output.close()
        with suppress(TimeoutExpired):
            self._process.wait(_PATIENCE)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._errors.close()

    def _explain_end(self) -> str:
        try:
            code = self._process.wait(timeout=_PATIENCE)
        except TimeoutExpired:
            return f"closed its output.{self._quote_errors()}"
        return f"ended with exit code {code}.{self._quote_errors()}"

    def _quote_errors(self) -> str:
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - _TAIL))
        errors = self._errors.read().decode(errors="replace").strip()
        return (
            f" The program's error output ends with:\n{errors}\n" if errors else " The program's error output is empty."
        )
