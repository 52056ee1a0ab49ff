"""Answers and their tests in, verdicts out: everything that preflab judges comes through here.

A `Judge` is what a testbed hands out; calling it tries once more what the machine failed at. `SandboxJudge` is the one that
runs answers as programs: it judges them on the several threads of a `Pool`, each with a `Worker` and, where there are any,
control groups of its own. The work is done by the sandboxed processes; a thread here only waits and reads.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from queue import SimpleQueue
from typing import NamedTuple

from preflab.errors import UserError
from preflab.sandbox.answer import build_program
from preflab.sandbox.backends import open_backend
from preflab.sandbox.groups import make_group, sweep_groups
from preflab.sandbox.verdict import ProgramOutcome, ProgramTask, Worker
from preflab.types import Test, Verdict

_logger = logging.getLogger("preflab")
TestedAnswers = Sequence[tuple[str, Sequence[Test]]]  # answers as text, each with the tests that decide
UNJUDGED: ProgramOutcome = "error"  # the outcome by which a judge says that it could not judge
_MOST_VERDICTS = 20_000  # that are kept: policies repeat themselves
AHEAD = 4  # programs for each worker that are read before they are judged: a file of any length needs little memory


class Judge(ABC):
    """Judges answers by their tests. It holds no data: through a judge a reward must not reach the tests of evaluation.

    `deterministic`: the same answer gets the same verdict from the same tests. `every`: the tests after the first one that
    fails are run too, so that the share of tests passed has a meaning.
    """

    deterministic: bool = True
    every: bool = True

    def __call__(
        self, answers: TestedAnswers, *, problems: Sequence[str] = (), most_lost: float = 0.0
    ) -> list[Verdict]:
        """One verdict an answer. What the machine failed at is tried once more; where it fails again the verdict is
        `UNJUDGED`, and for more than the share `most_lost` of the answers a `UserError` is raised. `problems`: what the
        answers' problems are called, for that message."""
        verdicts = self.judge_once(answers)
        failed = [row for row, verdict in enumerate(verdicts) if verdict.outcome == UNJUDGED]
        again = self.judge_once([answers[row] for row in failed]) if failed else []
        for row, verdict in zip(failed, again, strict=True):
            verdicts[row] = verdict
        lost = [row for row in failed if verdicts[row].outcome == UNJUDGED]
        if len(lost) > most_lost * len(answers):
            first = f"problem {problems[lost[0]]!r}" if problems else f"answer {lost[0] + 1}"
            raise UserError(
                f"The judge failed twice on {len(lost)} of {len(answers)} answers (at most {most_lost:.0%} may be lost), "
                f"first on {first}: {dict(verdicts[lost[0]].detail)}. That says nothing about the answers: see "
                "`preflab sandbox check`, then run the same command again."
            )
        return verdicts

    @abstractmethod
    def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
        """One verdict an answer, whatever the answer does; `UNJUDGED` where the machine fails."""


class SandboxJudge(Judge):
    """Runs answers as Python programs. Its pool opens with the first answer, since many who open a testbed judge nothing, and
    closes with the testbed. `workers`: programs at once, 0 for one a core. `packages`: what programs may import."""

    deterministic = False  # near a limit of time or memory, a verdict depends on the machine

    def __init__(self, workers: int, backend: str, packages: Sequence[str] = (), *, every: bool) -> None:
        self.workers, self.backend, self.packages, self.every = workers, backend, packages, every
        self.stack = contextlib.ExitStack()
        self.pool: Pool | None = None
        self.verdicts: dict[tuple[bytes, tuple[int, ...]], tuple[Verdict, Sequence[Test]]] = {}

    def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
        """The same program against the same tests is run once. A failure of the machine is not kept.

        Tests are told apart by their identity, not by what is in them. A verdict therefore keeps its tests: if they were gone,
        others could get the same identity."""
        programs = [build_program(text, tests) for text, tests in answers]
        digests = [hashlib.sha256(source.encode(errors="surrogatepass")).digest() for source, _ in programs]
        keys = [(digest, tuple(map(id, task.tests))) for digest, (_, task) in zip(digests, programs, strict=True)]
        new = {key: program for key, program in zip(keys, programs, strict=True) if key not in self.verdicts}
        fresh = dict(zip(new, self._run(list(new.values())), strict=True))
        kept = {key: verdict for key, verdict in fresh.items() if verdict.outcome != UNJUDGED}
        self.verdicts |= {key: (verdict, new[key][1].tests) for key, verdict in kept.items()}
        verdicts = [self.verdicts[key][0] if key in self.verdicts else fresh[key] for key in keys]
        for key in [*self.verdicts][: max(0, len(self.verdicts) - _MOST_VERDICTS)]:
            del self.verdicts[key]
        return verdicts

    def _run(self, programs: Sequence[tuple[str, ProgramTask]]) -> list[Verdict]:
        if not programs:
            return []
        self.pool = self.pool or self.stack.enter_context(open_pool(self.workers, self.backend, self.packages))
        tasks = [(source, task._replace(every=self.every or task.every)) for source, task in programs]
        named = [Program(str(number), *program) for number, program in enumerate(tasks)]
        verdicts = {program.id: verdict for program, verdict in self.pool.judge(named)}
        return [verdicts[program.id] for program in named]

    def close(self) -> None:
        self.stack.close()


class Program(NamedTuple):
    """A program with what it must do. `digest`: of both, where `preflab judge` needs it."""

    id: str
    source: str
    task: ProgramTask
    digest: str = ""


class Pool:
    """The workers that are free, and the threads that take them."""

    def __init__(self, workers: list[Worker], threads: ThreadPoolExecutor) -> None:
        self.size, self.threads = len(workers), threads
        self.free: SimpleQueue[Worker] = SimpleQueue()
        for worker in workers:
            self.free.put(worker)

    def judge(self, programs: Iterable[Program]) -> Iterator[tuple[Program, Verdict]]:
        """Every program with its verdict, in the order in which verdicts come."""
        waiting = iter(programs)
        pending: dict[Future[Verdict], Program] = {}
        while True:
            for program in islice(waiting, AHEAD * self.size - len(pending)):
                pending[self.threads.submit(self._judge_one, program)] = program
            if not pending:
                return
            for done in wait(pending, return_when=FIRST_COMPLETED).done:
                yield pending.pop(done), done.result()

    def _judge_one(self, program: Program) -> Verdict:
        worker = self.free.get()
        try:
            return worker.judge(program.source, program.task)
        finally:
            self.free.put(worker)


@contextmanager
def open_pool(workers: int = 0, backend: str = "bubblewrap", packages: Sequence[str] = ()) -> Generator[Pool]:
    """`workers`: how many programs at once (0: one a core). `backend`: see `backends`; what it does not stop is warned of.
    `packages`: see `packages`. Raises `UserError` where the sandbox does not run an honest program."""
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:  # inherited; nobody could then learn how a program has ended
        with contextlib.suppress(ValueError):  # another thread than the first
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    walls = open_backend(backend, packages)
    if walls.not_stopped:
        _logger.warning("preflab: %s", walls.not_stopped)
    workers = workers or len(os.sched_getaffinity(0))
    sweep_groups()
    trial = Worker(walls).judge("print(input())", ProgramTask("stdin", [Test("7", "7")]))
    if not trial.correct:
        raise UserError(
            f"The sandbox does not run even an honest program ({trial.outcome}: {trial.detail.get('got', '')}). See "
            "`preflab sandbox check`."
        )
    with contextlib.ExitStack() as stack:
        opened = [Worker(walls, (make_group(), make_group())) for _ in range(workers)]
        for group in (group for worker in opened for group in worker.groups if group):
            stack.callback(group.close)
        threads = stack.enter_context(ThreadPoolExecutor(workers))
        stack.callback(threads.shutdown, cancel_futures=True)
        yield Pool(opened, threads)
