"""Starts runs as Slurm jobs through submitit. Runs that become ready together are one job array.

Slurm sends a signal before the time limit and before a preemption. The run then writes a checkpoint, and Slurm puts the
job into its queue again. Exact resume makes this free, so that a short time limit is no limit for a run.
"""

from __future__ import annotations

import getpass
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, JsonValue

from preflab.errors import UserError
from preflab.study.directory import JOB_LOGS
from preflab.study.launchers.base import Launcher, StudyPlace
from preflab.study.launchers.node import NodeRun
from preflab.study.launchers.remote import RemoteLauncher, RemoteSpec, Ticket

if TYPE_CHECKING:
    import submitit

_QUEUE_SECONDS = 5.0
"""How long a list of the queue is used before it is read again."""


class Slurm(RemoteSpec):
    """Starts the runs of a study as Slurm jobs. The study's directory must lie on a file system that the machines share.

    `cluster`: "local" starts the same jobs without Slurm on this machine, to try a site file. `partition`, `account`,
    `qos`, `constraint`: as for `sbatch`. `minutes`: the time limit of a job; a run that needs longer continues in the
    next job. `stop_seconds`: how long before the limit Slurm warns the job. It must be long enough for a step and a
    checkpoint. `requeues`: how often a run may reach the limit. `gpus`: the GPUs of a run. `memory_gb`: the memory of a
    run in GiB; None for the default of the partition. `setup`: shell lines before the job, such as `module load cuda`.
    `python`: the command that starts Python, such as `apptainer exec image.sif python`; None for the interpreter of the
    study. `parameters`: further options of `sbatch`.
    """

    kind: Literal["slurm"] = "slurm"
    cluster: Literal["slurm", "local"] = "slurm"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    minutes: int = Field(default=1440, ge=1)
    stop_seconds: int = Field(default=90, ge=1)
    requeues: int = Field(default=100, ge=0)
    gpus: int = Field(default=0, ge=0)
    memory_gb: float | None = Field(default=None, gt=0)
    setup: tuple[str, ...] = ()
    python: str | None = None
    parameters: Mapping[str, JsonValue] = {}

    @contextmanager
    def open(self, place: StudyPlace) -> Generator[Launcher]:
        yield SlurmLauncher(self, place.directory / JOB_LOGS)


class SlurmTask:
    """What a Slurm job executes. submitit calls `checkpoint` when Slurm is about to stop the job, and then puts the job
    into the queue again."""

    def __init__(self, order_file: Path, token: str) -> None:
        self._order_file = order_file
        self._token = token
        self._run: NodeRun | None = None

    def __call__(self) -> int:
        self._run = NodeRun(self._order_file, self._token)
        return self._run.execute()

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        from submitit.helpers import DelayedSubmission

        if self._run is not None:
            self._run.stop()
        return DelayedSubmission(SlurmTask(self._order_file, self._token))


class SlurmLauncher(RemoteLauncher[Slurm, "submitit.Job[int]"]):
    """Submits runs to Slurm. `folder`: the directory for the logs of the jobs and for submitit's own files."""

    def __init__(self, spec: Slurm, folder: Path) -> None:
        super().__init__(spec)
        self._folder = folder
        self._queue = Queue()

    def start(self, tickets: Sequence[Ticket]) -> list[submitit.Job[int]]:
        jobs: dict[str, submitit.Job[int]] = {}
        for threads in sorted({ticket.run.spec.threads for ticket in tickets}):  # one array has one number of cores
            same = [ticket for ticket in tickets if ticket.run.spec.threads == threads]
            executor = self._make_executor(threads)
            with naming_slurm(), executor.batch():
                jobs |= {each.token: executor.submit(SlurmTask(each.order_file, each.token)) for each in same}
        return [jobs[ticket.token] for ticket in tickets]

    def _make_executor(self, threads: int) -> submitit.AutoExecutor:
        """Returns the submitit executor for runs with this number of threads."""
        import submitit

        slurm = self.spec
        own = {"partition": slurm.partition, "account": slurm.account, "qos": slurm.qos, "constraint": slurm.constraint}
        settings: dict[str, Any] = {f"slurm_{name}": value for name, value in own.items() if value is not None}
        if slurm.memory_gb is not None:
            settings["mem_gb"] = slurm.memory_gb
        with naming_slurm():
            executor = submitit.AutoExecutor(
                self._folder,
                cluster=slurm.cluster,
                slurm_python=slurm.python,
                slurm_max_num_timeout=slurm.requeues,
                local_python=slurm.python,
                local_max_num_timeout=slurm.requeues,
            )
            executor.update_parameters(
                name="preflab",
                timeout_min=slurm.minutes,
                cpus_per_task=threads,
                gpus_per_node=slurm.gpus,
                slurm_signal_delay_s=slurm.stop_seconds,
                slurm_setup=list(slurm.setup),
                slurm_additional_parameters={"requeue": True, **slurm.parameters},
                slurm_array_parallelism=slurm.jobs,
                local_setup=list(slurm.setup),
                **settings,
            )
        return executor

    def is_over(self, handle: submitit.Job[int]) -> bool:
        return handle.done() if self.spec.cluster == "local" else not self._queue.contains(handle.job_id)

    def stop(self, handle: submitit.Job[int]) -> None:
        handle.cancel(check=False)

    def describe_fault(self, handle: submitit.Job[int]) -> str:
        lines = (handle.stderr() or "").strip().splitlines()
        return lines[-1] if lines else f"see {handle.paths.stderr}"


class Queue:
    """The jobs of this user that Slurm has not finished, as `squeue` lists them. submitit asks `sacct`, which needs a
    database that not every cluster has."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._read_at = -_QUEUE_SECONDS

    def contains(self, job_id: str) -> bool:
        """Returns True if Slurm has not finished the job, or if Slurm does not answer."""
        if time.monotonic() - self._read_at >= _QUEUE_SECONDS:
            command = ["squeue", "--array", "--noheader", "--format=%i", f"--user={getpass.getuser()}"]
            answer = subprocess.run(command, capture_output=True, text=True)
            if answer.returncode != 0:
                return True
            self._ids = set(answer.stdout.split())
            self._read_at = time.monotonic()
        return job_id in self._ids


@contextmanager
def naming_slurm() -> Generator[None]:
    """Turns a refusal of Slurm or of submitit into a `UserError`."""
    try:
        yield
    except ImportError as error:
        raise UserError("The launcher `slurm` needs submitit. Install it: pip install 'preflab[slurm]'.") from error
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
        raise UserError(f"Slurm does not take the jobs: {error}") from error
