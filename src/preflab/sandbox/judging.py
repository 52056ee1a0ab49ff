"""Judges answers by their tests. All judging by tests passes through this module.

Each testbed has a `Judge`. If the machine fails while it judges an answer, the judge tries this answer once more.
`SandboxJudge` is the judge that runs answers as programs, on the threads of a `Pool`. Each thread uses one `Worker`,
which has its own control groups if the machine allows control groups. Threads are enough, because a thread only waits
for a sandboxed process and reads its output.
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
from preflab.work import report_each

_logger = logging.getLogger("preflab")
TestedAnswers = Sequence[tuple[str, Sequence[Test]]]  # answers as text, each with the tests that judge it
UNJUDGED: ProgramOutcome = "error"  # the outcome of an answer that could not be judged
_MOST_VERDICTS = 20_000  # how many verdicts are kept at most, in case a policy repeats an answer
AHEAD = 4  # how many programs are read in advance for each worker; a small number saves memory


class Judge(ABC):
    """Judges answers by their tests. A judge has no access to the data of the testbed. Otherwise a reward could reach
    the tests of the evaluation through its judge.

    `deterministic`: whether the same answer always gets the same verdict from the same tests. `every`: whether the
    tests after the first failed test are run too. The share of passed tests is meaningful only if they are run.
    """

    deterministic: bool = True
    every: bool = True

    def __call__(
        self, answers: TestedAnswers, *, problems: Sequence[str] = (), most_lost: float = 0.0
    ) -> list[Verdict]:
        """Returns one verdict for each answer. If the machine fails while it judges an answer, the answer is judged
        once more. If the machine fails again, the outcome of the verdict is `UNJUDGED`. `most_lost`: the largest
        allowed share of answers with the outcome `UNJUDGED`. Raises `UserError` if the share is larger. `problems`: the
        name of the problem of each answer, for the error message."""
        verdicts = self.judge_once(answers)
        failed = [row for row, verdict in enumerate(verdicts) if verdict.outcome == UNJUDGED]
        again = self.judge_once([answers[row] for row in failed]) if failed else []
        for row, verdict in zip(failed, again, strict=True):
            verdicts[row] = verdict
        lost = [row for row in failed if verdicts[row].outcome == UNJUDGED]
        if len(lost) > most_lost * len(answers):
            first = f"problem {problems[lost[0]]!r}" if problems else f"answer {lost[0] + 1}"
            raise UserError(
                f"The judge failed twice on {len(lost)} of {len(answers)} answers (at most {most_lost:.0%} may be lost). "
                f"The first is {first}: {dict(verdicts[lost[0]].detail)}. The machine failed, not the answers: run "
                "`preflab sandbox check`, then run the same command again."
            )
        return verdicts

    @abstractmethod
    def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
        """Returns one verdict for each answer, even if the answer's program crashes. If the machine fails, the outcome
        of the verdict is `UNJUDGED`."""


class SandboxJudge(Judge):
    """Runs answers as Python programs. The pool of workers is opened when the first answer is judged, because a testbed
    is often opened without judging anything. The pool is closed together with the testbed. `workers`: how many programs
    run at once (0: one for each core). `packages`: the packages that programs may import."""

    deterministic = False  # near a limit of time or memory, a verdict depends on the machine

    def __init__(self, workers: int, backend: str, packages: Sequence[str] = (), *, every: bool) -> None:
        self.workers, self.backend, self.packages, self.every = workers, backend, packages, every
        self.stack = contextlib.ExitStack()
        self.pool: Pool | None = None
        self.verdicts: dict[tuple[bytes, tuple[int, ...]], tuple[Verdict, Sequence[Test]]] = {}

    def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
        """Runs a program against the same tests only once, and stores the verdict. If the machine failed, the verdict
        is not stored.

        Two tests count as the same if they have the same `id()`. The tests are therefore stored together with the
        verdict. If they were deleted, new tests could get the same `id()`."""
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
        judged = report_each("programs judged", self.pool.judge(named), len(named))
        verdicts = {program.id: verdict for program, verdict in judged}
        return [verdicts[program.id] for program in named]

    def close(self) -> None:
        self.stack.close()


class Program(NamedTuple):
    """A program and its task. `digest`: the digest of the problem and the program, which only `preflab judge` uses
    (empty: not used)."""

    id: str
    source: str
    task: ProgramTask
    digest: str = ""


class Pool:
    """A pool of workers, and the threads that judge programs with the free workers."""

    def __init__(self, workers: list[Worker], threads: ThreadPoolExecutor) -> None:
        self.size, self.threads = len(workers), threads
        self.free: SimpleQueue[Worker] = SimpleQueue()
        for worker in workers:
            self.free.put(worker)

    def judge(self, programs: Iterable[Program]) -> Iterator[tuple[Program, Verdict]]:
        """Yields every program with its verdict, in the order in which the verdicts are ready."""
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
    """Opens a pool. `workers`: how many programs run at once (0: one for each core). `backend`: the name of a backend
    (see the module `backends`); a warning says which attacks the backend does not stop. `packages`: the packages that
    programs may import. Raises `UserError` if the sandbox cannot run a harmless program."""
    # A process inherits the setting that ignores SIGCHLD. With this setting, the exit status of programs would be lost.
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        with contextlib.suppress(ValueError):  # only the main thread may set signal handlers
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    walls = open_backend(backend, packages)
    if walls.not_stopped:
        _logger.warning("preflab: %s", walls.not_stopped)
    workers = workers or len(os.sched_getaffinity(0))
    sweep_groups()
    trial = Worker(walls).judge("print(input())", ProgramTask("stdin", [Test("7", "7")]))
    if not trial.correct:
        raise UserError(
            f"The sandbox cannot run even a harmless program ({trial.outcome}: {trial.detail.get('got', '')}). Run "
            "`preflab sandbox check` to see why."
        )
    with contextlib.ExitStack() as stack:
        opened = [Worker(walls, (make_group(), make_group())) for _ in range(workers)]
        for group in (group for worker in opened for group in worker.groups if group):
            stack.callback(group.close)
        threads = stack.enter_context(ThreadPoolExecutor(workers))
        stack.callback(threads.shutdown, cancel_futures=True)
        yield Pool(opened, threads)
