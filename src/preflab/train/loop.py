"""Runs the training loop in a directory, so that a run can be killed at any moment and resumed exactly.

A checkpoint contains weights, optimizers and counters. It contains no random state, because the seed of every random
draw is derived from the name of the draw (`run.seeds`). A value that no seed can reproduce is saved before it is used
(`run.journal`).
"""

from __future__ import annotations

import datetime
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from preflab.endings import Stopped
from preflab.errors import UserError
from preflab.meter import Meter
from preflab.models.lm import LanguageModel
from preflab.models.reference import trainable
from preflab.train import checkpoint, faults
from preflab.train.directory import RUN_FORMAT, claim, locked, manifest_removed_if_refused, need_space
from preflab.train.files import naming_failures, new_directory
from preflab.train.journal import Journal
from preflab.train.labels import Labels
from preflab.train.learner import Learner
from preflab.train.log import logged, logger
from preflab.train.plateau import Ending
from preflab.train.record import RunRecord
from preflab.train.replacing import drop_replaced, replacing
from preflab.train.seeds import Seeds
from preflab.train.selection import Selection
from preflab.train.settings import Budget, Keeping, Plateau
from preflab.train.state import Stateful, load_state, refused_unless_it_fits, require_tensor


class Run:
    """A run with an open directory. Use `open_run` to make a run."""

    def __init__(
        self,
        directory: Path,
        *,
        seed: int,
        budget: Budget | None,
        evaluations: int,
        plateau: Plateau | None,
        keeping: Keeping,
        label: str,
        date: str,
    ) -> None:
        self.directory = directory
        self.date = date  # the date on which the run began; some chat templates insert this date into prompts
        self.best = directory / "best" / "weights.safetensors"
        self.budget = budget
        self.keeping = keeping
        self.meter = Meter()
        self.seeds = Seeds(seed)
        self.labels = Labels(budget, self.meter)
        self.record = RunRecord(directory, keeping, label)
        self.journal = Journal(directory, self.meter, self.record)
        self.selection = Selection(evaluations)
        self.ending = Ending(plateau)
        self.progress = 0.0
        self._next_progress: Callable[[], float] = lambda: 1.0  # the progress at the end of the current step
        self.place = "before the first step"
        self.stop_signal: int | None = None
        self.stepping = False
        self._checkpointed = time.monotonic()

    def steps(
        self,
        total: int | Callable[[int], float],
        state: Mapping[str, Stateful],
        *,
        policy: LanguageModel,
        validate: Callable[[LanguageModel], Mapping[str, float]] | None,
    ) -> Iterator[int]:
        """Yields the step numbers, from the current step of the run until the run's budget is used.

        Without a compute budget, the run ends after `total` steps. If `total` is a function, `total(step)` is the share
        of the run that is done, and the run ends when this share reaches 1. With the setting `plateau`, the run can end
        earlier (see `preflab.train.plateau`).

        After each step, the loop writes the metrics of the step. When an evaluation is due, the loop evaluates the
        policy with `validate`. When a checkpoint is due, the loop writes a checkpoint. At the end, the policy gets the
        weights with the best validation score. If no score was measured, the policy keeps the last weights. Raises
        `UserError` if `plateau` is set but the run has no validation score.
        """
        self._refuse_plateau_without(validate)
        share = total if callable(total) else lambda step: step / total
        state = {"journal": self.journal, **state, "meter": self.meter, "selection": self.selection}
        if self.ending.plateau is not None:
            state["ending"] = self.ending
        need_space(self.directory, self._disk_need(state, policy))
        step = self._restore(state, policy)
        self._advance(step, share)
        with self._stopping_between_steps():
            while self.progress < self.ending.end and self.stop_signal is None:
                started = time.monotonic()
                self.record.begin_step()
                self._next_progress = partial(share, step + 1)
                yield step
                faults.pass_point("update.after")
                step += 1
                self._advance(step, share)
                if validate is not None and self.selection.due(self.progress, self.ending.end):
                    self._look(step, policy, validate, count_updates(state.values(), policy))
                if self.ending.starts_cooldown(self.progress):
                    self.record.say(f"begins its cooldown after step {step}: {self.ending.reason}")
                self._write(step, time.monotonic() - started, state.get("policy"))
                drop_replaced(self.directory)
                self._keep(step, state)
        self.record.end_steps()
        if self.selection.best_step:
            self._take_best(policy)

    def progress_of_update(self, update: int = 0, updates: int = 1) -> float:
        """Returns the progress of the run at the midpoint of an update, as a share of the run. The learning-rate
        schedule uses this progress. `update`: the index of the update among the `updates` updates of this step.

        In a step that takes the progress from p to p', the result is p + (p' - p) (update + 1/2) / updates. The first
        update is therefore not at progress 0, and the mean of the schedule over a run hardly depends on the number of
        updates. With a compute budget, p' is not known before the step ends, so the result is the share of the budget
        that is used so far. With the setting `plateau`, the result is converted to a position in the schedule (see
        `Ending.place`).
        """
        used = self._share_of_compute()
        if used is None:
            used = self.progress + (self._next_progress() - self.progress) * (update + 0.5) / updates
        return self.ending.place(used)

    def _refuse_plateau_without(self, validate: object) -> None:
        if self.ending.plateau is not None and validate is None:
            raise UserError(
                "`plateau` ends a run by its validation score, but this run has no validation score. Give the run an "
                "evaluator and give the testbed a validation split, or leave out `plateau`."
            )

    # -- inside the loop --------------------------------------------------------------------------------------------

    def _restore(self, state: Mapping[str, Stateful], policy: LanguageModel) -> int:
        def load_needed(tree: Mapping[str, Any]) -> None:
            absent = [name for name in (*state, "record") if name not in tree]
            if absent:
                raise UserError(f"The checkpoint lacks {', '.join(absent)}. An older preflab wrote this checkpoint.")
            with refused_unless_it_fits("record"):
                self.record.check(tree["record"])
            load_state(state, tree)
            self._check_best(tree, policy)

        def load_all(tree: Mapping[str, Any]) -> None:
            with refused_unless_it_fits("journal"):
                # `load_needed` leaves out this check, because a run can often go on if a journal entry is damaged.
                self.journal.check(tree.get("journal", {}))
            load_needed(tree)

        tree = checkpoint.read_newest_checkpoint(self.directory / "checkpoints", load_all, load_needed)
        if tree is None:
            self.record.cut({})
            return 0
        if "best" in tree:
            self._write_best(tree["best"])
        self.record.cut(tree["record"])
        logger.info("%s resumes after step %d", self.directory, tree["step"])
        self.record.say(f"resumes after step {tree['step']}")
        return int(tree["step"])

    def _check_best(self, tree: Mapping[str, Any], policy: LanguageModel) -> None:
        """Raises `UserError` if the checkpoint lacks the best weights, or if these weights belong to another model."""
        if not self.selection.best_step:
            return
        with refused_unless_it_fits("best"):
            for name, parameter in trainable(policy.model).items():
                require_tensor(tree["best"], name, parameter.shape)

    def _disk_need(self, state: Mapping[str, Stateful], policy: LanguageModel) -> int:
        """Returns the largest number of bytes that the run will need on the disk at any moment. The number includes the
        kept checkpoints and a new checkpoint, each with the best weights. The number also includes the old and the new
        file of the best weights, and the final model."""
        held = checkpoint.checkpoint_bytes({name: part.state_dict() for name, part in state.items()})
        best = sum(part.nbytes for part in trainable(policy.model).values())
        final = sum(part.nbytes for part in policy.model.parameters())
        return (self.keeping.checkpoints + 1) * (held + best) + 2 * best + final

    @contextmanager
    def _stopping_between_steps(self) -> Generator[None]:
        """If a stop signal arrives inside the block, ends the run after the checkpoint of the current step. Outside the
        block, no step is in progress, so a stop signal ends the run immediately. A resumed run repeats the work that
        was interrupted."""
        self.stepping = True
        try:
            yield
        finally:
            self.stepping = False
        if self.stop_signal is not None:
            raise Stopped(self.stop_signal, self.place)

    def _advance(self, step: int, share: Callable[[int], float]) -> None:
        self.place = f"after step {step}" if step else self.place
        used = self._share_of_compute()
        self.progress = share(step) if used is None else used

    def _share_of_compute(self) -> float | None:
        """Returns the share of the compute budget that the run has used so far; None if the run has no compute
        budget."""
        if self.budget is None or self.budget.unit != "compute":
            return None
        return self.meter.used("compute") / self.budget.own

    def _look(
        self, step: int, policy: LanguageModel, validate: Callable[[LanguageModel], Mapping[str, float]], updates: int
    ) -> None:
        faults.pass_point("validation")
        measures = validate(policy)
        self.record.log(measures, "validation/")
        if "score" not in measures:  # without a score, the last weights are kept
            self._refuse_plateau_without(None)
            self.selection.count_unscored(self.progress)
            return
        improved = self.selection.note(self.progress, step, measures["score"])
        self.ending.note(improved=improved, updates=updates)
        if improved:
            self._write_best({name: part.detach().contiguous() for name, part in trainable(policy.model).items()})

    def _write_best(self, weights: dict[str, torch.Tensor]) -> None:
        with new_directory(self.best.parent) as aside:
            save_file(weights, aside / self.best.name)

    def _take_best(self, policy: LanguageModel) -> None:
        weights = load_file(self.best)
        with torch.no_grad():
            for name, parameter in trainable(policy.model).items():
                parameter.copy_(weights[name])

    def _write(self, step: int, seconds: float, learner: Stateful | None) -> None:
        # The updates are counted separately from the steps, because a step makes 0 or more updates.
        updates = {"updates": learner.updates} if isinstance(learner, Learner) else {}
        counts = self.meter.state_dict() | updates
        self.record.write_step(step, progress=self.progress, seconds=seconds, counts=counts)

    def _keep(self, step: int, state: Mapping[str, Stateful]) -> None:
        """Writes a checkpoint of the state after `step` steps if a checkpoint is due, or if the run received a stop
        signal."""
        if self.stop_signal is None and time.monotonic() - self._checkpointed < self.keeping.checkpoint_seconds:
            return
        parts = {name: part.state_dict() for name, part in state.items()}
        tree: dict[str, Any] = {**parts, "step": step, "record": self.record.marks()}
        if self.selection.best_step:
            tree["best"] = load_file(self.best)
        checkpoint.write_checkpoint(self.directory / "checkpoints", step, tree, keep=self.keeping.checkpoints)
        self._checkpointed = time.monotonic()
        self.record.publish()


def count_updates(parts: Iterable[Stateful], policy: LanguageModel) -> int:
    """Returns the number of updates of the policy so far. `parts`: the parts of the run's state, such as its learners."""
    return sum(part.updates for part in parts if isinstance(part, Learner) and part.model is policy.model)


@contextmanager
def open_run(
    directory: Path,
    manifest: Mapping[str, Any],
    *,
    seed: int,
    budget: Budget | None = None,
    evaluations: int = 1,
    plateau: Plateau | None = None,
    keeping: Keeping | None = None,
    fresh: bool = False,
    label: str = "",
) -> Generator[Run]:
    """Opens a directory for one run and locks it.

    If the directory has no manifest of a run, a new run begins in the directory. Files of other programs are not
    changed. If the directory has the manifest of this run, the run resumes. If the directory has the manifest of
    another run, raises `UserError`. If the run raises `UserError` before it has saved any work, its manifest is
    removed. If `fresh` is True, the new run replaces the old run in the directory. The old run is kept until the new
    run has saved its first step. During the training steps, SIGTERM and Ctrl-C end the run after the current step. The
    run writes a checkpoint first.
    """
    with locked(directory), naming_failures(directory), replacing(directory, fresh=fresh):
        today = datetime.date.today().isoformat()
        claimed = claim(directory, {"format": RUN_FORMAT, "date": today, **manifest})
        with manifest_removed_if_refused(directory), logged(directory):
            run = Run(
                directory,
                seed=seed,
                budget=budget,
                evaluations=evaluations,
                plateau=plateau,
                keeping=keeping or Keeping(),
                label=label or directory.name,
                date=claimed.get("date", today),
            )
            with closing(run.record), stopping(run):
                yield run


@contextmanager
def stopping(run: Run) -> Generator[None]:
    """Ends the run if SIGTERM or SIGINT arrives inside the block. During the training steps, the first signal ends the
    run after the current step. A second signal raises `Stopped` within the step, so that the progress bar is still
    removed from the terminal. Outside the steps, the first signal already raises `Stopped`. After `Stopped`, the next
    signal ends the process immediately.

    Python can set signal handlers only in its main thread. In another thread, this function changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(signum: int, frame: object) -> None:
        leaves = run.stop_signal is not None or not run.stepping
        run.stop_signal = signum
        if leaves:
            signal.signal(signum, signal.SIG_DFL)
            raise Stopped(signum, run.place)

    before = {signum: signal.signal(signum, ask) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
