"""A program in any language as a reward: it stays alive, reads one JSON object a line and answers each with one line.

In: `{"id": ..., "prompt": [{"role": ..., "content": ...}, ...], "completion": ..., "truncated": ...}`. Out: a number,
or `{"score": number}`. The program must flush each line. It should end when its input ends, which also
happens when preflab has died.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import signal
import tempfile
import threading
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from subprocess import PIPE, Popen, TimeoutExpired
from typing import IO, Any, Literal

from pydantic import Field

from preflab.errors import UserError
from preflab.meter import Meter
from preflab.rewards.base import Reward, RewardSpec, answer_to_json, check_score
from preflab.spec import Context
from preflab.types import Completion, Prompt

_PATIENCE = 5.0  # seconds that the program has to end by itself
_TAIL = 2000  # characters of its error output that a message shows


class Command(RewardSpec):
    """`command`: program and arguments, split like a shell does but run without one. `timeout`: seconds an answer."""

    kind: Literal["command"] = "command"
    command: str
    timeout: float = Field(default=60.0, gt=0)
    deterministic: bool = False

    @contextmanager
    def open(self, context: Context) -> Generator[CommandReward]:
        """Starts the program, and ends it in the end; raises `UserError` when it does not start."""
        with closing(CommandReward(self, context.meter)) as reward:
            yield reward


class _ProcessFailed(Exception):
    """The program died or did not answer."""


class CommandReward(Reward):
    """The opened reward: the running program."""

    def __init__(self, spec: Command, meter: Meter) -> None:
        self.deterministic = spec.deterministic
        self._spec = spec
        self._meter = meter
        self._program = RewardProcess(spec.command)

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """One line out, one line in, for each. A program that dies is started once more; then `UserError`."""
        pairs = zip(prompts, completions, strict=True)
        scores = [self._ask(answer_to_json(prompt, answer)) for prompt, answer in pairs]
        self._meter.labelled(len(scores))
        return scores

    def close(self) -> None:
        """Ends the program: its input closes, then it is killed."""
        self._program.close()

    def _ask(self, request: dict[str, Any]) -> float:
        line = json.dumps(request)
        try:
            reply = self._program.ask(line, self._spec.timeout)
        except _ProcessFailed:
            self._program.close()
            self._program = RewardProcess(self._spec.command)
            try:
                reply = self._program.ask(line, self._spec.timeout)
            except _ProcessFailed as error:
                raise UserError(f"The reward command {self._spec.command!r} {error} (tried twice).") from error
        source = f"The reward command {self._spec.command!r}, on prompt {request['id']!r}"
        try:
            answer = json.loads(reply)
        except json.JSONDecodeError as error:
            raise UserError(f"{source}, answered {reply.strip()[:80]!r}, neither a number nor JSON.") from error
        return check_score(answer.get("score") if isinstance(answer, dict) else answer, source)


class RewardProcess:
    """A child process in a group of its own, a thread that reads its lines, and a file with its error output."""

    def __init__(self, command: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the program)
        try:
            words = shlex.split(command)
            self._process = Popen(
                words, stdin=PIPE, stdout=PIPE, stderr=self._errors, encoding="utf-8", start_new_session=True
            )
        except (OSError, ValueError, IndexError) as error:
            self._errors.close()
            raise UserError(f"The reward command {command!r} does not start: {error}.") from error
        assert self._process.stdin is not None and self._process.stdout is not None  # they are pipes
        self._input = self._process.stdin
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    def ask(self, line: str, timeout: float) -> str:
        """The line that answers `line`; raises `_ProcessFailed` when none comes."""
        try:
            self._input.write(line + "\n")
            self._input.flush()
        except OSError as error:
            raise _ProcessFailed(self._explain_end()) from error
        try:
            reply = self._lines.get(timeout=timeout)
        except queue.Empty as error:
            advice = f"Does it flush each line? Else raise `timeout`.{self._quote_errors()}"
            raise _ProcessFailed(f"gave no answer within {timeout:g} s. {advice}") from error
        if not reply:
            raise _ProcessFailed(self._explain_end())
        return reply

    def close(self) -> None:
        """Lets the program end, then kills its whole group."""
        with suppress(OSError):
            self._input.close()
        with suppress(TimeoutExpired):
            self._process.wait(_PATIENCE)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._errors.close()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self._lines.put(line)
        self._lines.put("")

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
        return f" Its error output ends:\n{errors}\n" if errors else " Its error output is empty."
