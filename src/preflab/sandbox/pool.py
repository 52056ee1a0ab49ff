"""Many programs, judged on several threads: each has a judge and, where there are any, a control group of its own.

The work is done by the sandboxed processes; a thread here only waits and reads.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from queue import SimpleQueue
from typing import NamedTuple

from preflab.errors import UserError
from preflab.sandbox.backends import backend as opened_backend
from preflab.sandbox.groups import new_group, sweep
from preflab.sandbox.judge import Judge, Task
from preflab.types import Test, Verdict

logger = logging.getLogger("preflab")
AHEAD = 4
"""Programs for each worker that are read before they are judged: a file of any length needs little memory."""


class Program(NamedTuple):
    """`digest`: of the program and what it is judged by, where somebody asks for it."""

    id: str
    source: str
    task: Task
    digest: str = ""


class Pool:
    """Judges that are free, and the threads that take them."""

    def __init__(self, judges: list[Judge], threads: ThreadPoolExecutor) -> None:
        self.size, self.threads = len(judges), threads
        self.free: SimpleQueue[Judge] = SimpleQueue()
        for judge in judges:
            self.free.put(judge)

    def judge(self, programs: Iterable[Program]) -> Iterator[tuple[Program, Verdict]]:
        """Every program with its verdict, in the order in which they are done."""
        waiting = iter(programs)
        pending: dict[Future[Verdict], Program] = {}
        while True:
            for program in islice(waiting, AHEAD * self.size - len(pending)):
                pending[self.threads.submit(self._one, program)] = program
            if not pending:
                return
            for done in wait(pending, return_when=FIRST_COMPLETED).done:
                yield pending.pop(done), done.result()

    def _one(self, program: Program) -> Verdict:
        judge = self.free.get()
        try:
            return judge.judge(program.source, program.task)
        finally:
            self.free.put(judge)


@contextmanager
def opened_pool(workers: int = 0, backend: str = "bubblewrap") -> Generator[Pool]:
    """`workers`: how many programs at once (0: one a core). `backend`: see `backends`; one that has `not_stopped`, text
    that says what it lets through, is warned of. Raises `UserError` where the sandbox
    does not run an honest program."""
    walls = opened_backend(backend)
    if not_stopped := getattr(walls, "not_stopped", ""):
        logger.warning("preflab: %s", not_stopped)
    workers = workers or len(os.sched_getaffinity(0))
    sweep()
    tried = Judge(walls).judge("print(input())", Task("stdin", [Test("7", "7")]))
    if not tried.correct:
        raise UserError(
            f"The sandbox does not run even an honest program ({tried.outcome}: {tried.detail.get('got', '')}). See "
            "`preflab sandbox check`."
        )
    with contextlib.ExitStack() as stack:
        judges: list[Judge] = []
        for _ in range(workers):
            pair = new_group(), new_group()
            for group in filter(None, pair):
                stack.callback(group.close)
            judges.append(Judge(walls, pair))
        threads = stack.enter_context(ThreadPoolExecutor(workers))
        stack.callback(threads.shutdown, cancel_futures=True)
        yield Pool(judges, threads)
