"""A run: one directory, one writer, one loop that can be killed at any moment and goes on exactly where it was.

Randomness is never carried along: every draw has a name, and its seed is a hash of the run's seed and that name
(`run.seed_for("rollout", 7)`). What a checkpoint must hold is therefore weights, optimizers and counters alone. What no
seed can repeat (an endpoint's answer) is written down before it is used (`run.replay`).
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors.torch import load_file, save_file

from preflab.errors import UserError
from preflab.meter import Meter
from preflab.models.lm import LanguageModel
from preflab.models.reference import trainable
from preflab.rewards.base import Reward
from preflab.train import checkpoint, faults
from preflab.train.directory import FORMAT, claim, clear, locked, need_space
from preflab.train.files import Lines, new_directory, read_json, write_json
from preflab.train.learner import Learner
from preflab.train.log import logged, logger
from preflab.train.progress import Progress
from preflab.train.selection import Selection
from preflab.train.settings import Budget, Keeping
from preflab.train.trackers import Trackers
from preflab.types import VERDICT, Completion, Prompt

SHOWN = 4  # answers that are kept of each scoring, for people to read


T = TypeVar("T")


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def buys_labels(reward: Reward) -> bool:
    """Whether a score is a label: not where a model that learnt from labels gives it."""
    return getattr(reward, "buys_labels", True)


class Run:
    """The open run directory. Made by `open_run`."""

    def __init__(
        self, directory: Path, *, seed: int, budget: Budget | None, evaluations: int, keeping: Keeping, label: str
    ) -> None:
        self.directory = directory
        self.seed = seed
        self.budget = budget
        self.keeping = keeping
        self.meter = Meter()
        self.selection = Selection(evaluations)
        self.progress = 0.0
        self._share: Callable[[int], float] = lambda step: 0.0
        self.stop_signal: int | None = None
        self.stepping = False
        self.metrics = Lines(directory / "metrics.jsonl")
        self.samples = Lines(directory / "samples.jsonl")
        self.timing = Lines(directory / "timing.jsonl")
        self.trackers = Trackers(directory, wandb=keeping.wandb, label=label)
        self.view = Progress(label, enabled=keeping.progress)
        self._record: dict[str, float] = {}
        self._samples: list[dict[str, Any]] = []
        self._verdicts: Counter[str] = Counter()
        self._kept = time.monotonic()

    # -- randomness -------------------------------------------------------------------------------------------------

    def seed_for(self, *name: str | int) -> int:
        """A seed in [0, 2^63) for a named draw."""
        text = "/".join(str(part) for part in (self.seed, *name))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def random(self, *name: str | int) -> random.Random:
        return random.Random(self.seed_for(*name))

    def shuffled(self, size: int, *name: str | int) -> list[int]:
        """A permutation of range(size) for a named draw."""
        order = list(range(size))
        self.random(*name).shuffle(order)
        return order

    def drawn(self, rows: Sequence[T], count: int, name: str) -> list[T]:
        """`count` of the rows, drawn once for the run; all of them where `count` is 0. Raises `UserError` where there are
        fewer: arms that are to learn from equally many would not."""
        if count > len(rows):
            raise UserError(
                f"{count:,} {name} are asked for, and there are {len(rows):,}: ask for fewer, or 0 for all."
            )
        order = self.shuffled(len(rows), "drawn", name)
        return [rows[i] for i in order[: count or len(rows)]]

    def pairs(self, preferences: Sequence[T], count: int, *, paid: bool) -> list[T]:
        """`count` training pairs, drawn once for the run (0: all). Each costs a label, unless the stage that made them
        has `paid` for it; a labels budget caps them."""
        pairs, left = self.drawn(preferences, count, "pairs"), None if paid else self.labels_left()
        pairs = pairs if left is None else pairs[:left]
        if not paid:
            self.meter.labelled(len(pairs))
        return pairs

    def labels_left(self) -> int | None:
        """How many labels a labels budget still allows; None where none binds."""
        if self.budget is None or self.budget.unit != "labels":
            return None
        return max(0, int(self.budget.own - self.meter.used("labels")))

    def affordable(self, count: int, labels: int, reward: Reward) -> int:
        """How many of `count` prompts can be answered where each answer set costs `labels` of the reward; at least 1."""
        left = self.labels_left() if buys_labels(reward) else None
        return count if left is None else max(1, min(count, left // labels))

    def rows(self, step: int, size: int, batch_size: int) -> list[int]:
        """The rows of `step` in an endless series of shuffled passes over `size` rows."""
        per_pass = max(1, math.ceil(size / batch_size))
        order = self.shuffled(size, "pass", step // per_pass)
        place = step % per_pass
        return order[place * batch_size : (place + 1) * batch_size]

    def stream(self, step: int, size: int, count: int) -> list[int]:
        """`count` rows for `step`, always that many, from an endless series of shuffled passes over `size` rows."""
        places = range(step * count, (step + 1) * count)
        passes = {n: self.shuffled(size, "pass", n) for n in {place // size for place in places}}
        return [passes[place // size][place % size] for place in places]

    # -- the loop ---------------------------------------------------------------------------------------------------

    def steps(
        self,
        total: int | Callable[[int], float],
        state: Mapping[str, Stateful],
        *,
        policy: LanguageModel,
        validate: Callable[[LanguageModel], Mapping[str, float]] | None,
    ) -> Iterator[int]:
        """Step numbers, from where the run stands until its budget is used.

        Without a compute budget the run ends after `total` steps, or where `total(step)`, a share, reaches 1.

        After each step its metrics are written, and the validation split is looked at and a checkpoint made where
        due. At the end the policy holds the best checkpoint's weights.
        """
        self._share = total if callable(total) else lambda step: step / total
        state = {**state, "meter": self.meter, "selection": self.selection}
        need_space(self.directory, self._disk_need(state, policy))
        step = self._restore(state)
        self._advance(step)
        with self._stopping_between_steps():
            while self.progress < 1.0:
                started = time.monotonic()
                self._record, self._samples, self._verdicts = {}, [], Counter()
                yield step
                faults.point("update.after")
                step += 1
                self._advance(step)
                if validate is not None and self.selection.due(self.progress):
                    self._look(step, policy, validate)
                self._write(step, time.monotonic() - started, state.get("policy"))
                self._keep(step, state)
        self.trackers.follow()
        if validate is not None:
            self._take_best(policy)

    def log(self, values: Mapping[str, float], prefix: str = "") -> None:
        """Adds to the step's record: deterministic values only. What is not finite (a ratio that overflowed in a
        mini-batch that was skipped) is left out: JSON has no number for it."""
        found = {prefix + name: float(value) for name, value in values.items()}
        self._record.update({name: value for name, value in found.items() if math.isfinite(value)})

    def replay(self, key: str, compute: Callable[[], Any]) -> Any:
        """JSON data written down under `key` before it is used, with what computing it cost, the samples that it showed and
        the verdicts that it brought: a resumed run reads all four."""
        path = self.directory / "journal" / f"{key}.json"
        before, shown, told = self.meter.state_dict(), len(self._samples), self._verdicts.copy()
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            value = compute()
            used = {name: count - before[name] for name, count in self.meter.state_dict().items()}
            entry = {"value": value, "used": used, "samples": self._samples[shown:]}
            write_json(path, {**entry, "verdicts": self._verdicts - told})
        entry = read_json(path)
        self.meter.load_state_dict({name: count + entry["used"][name] for name, count in before.items()})
        self._samples[shown:] = entry["samples"]
        self._verdicts = told + Counter(entry["verdicts"])
        return entry["value"]

    def score(
        self,
        reward: Reward,
        prompts: Sequence[Prompt],
        completions: Sequence[Completion],
        *,
        key: str,
        own: bool = True,
    ) -> list[float]:
        """The reward's scores; journalled under `key` where asking again could answer differently.

        `own`: the policy wrote the answers. Then the first few go into the step's samples, and the verdicts into its measures.
        """

        def ask() -> list[float]:
            found = reward.score(prompts, completions)
            if own:
                self._verdicts.update(getattr(reward, "outcomes", {}))
            return found

        scores = ask() if reward.deterministic else self.replay(key, ask)
        for prompt, answer, score in list(zip(prompts, completions, scores, strict=True))[: SHOWN if own else 0]:
            text, truncated = answer.text, answer.truncated
            self._samples.append({"prompt": prompt.id, "text": text, "truncated": truncated, "score": score})
        return scores

    def checkpoint(self, step: int, state: Mapping[str, Stateful]) -> None:
        tree: dict[str, Any] = {name: part.state_dict() for name, part in state.items()}
        tree["step"] = step
        tree["sizes"] = {"metrics": self.metrics.size(), "samples": self.samples.size()}
        checkpoint.save(self.directory / "checkpoints", step, tree, keep=self.keeping.checkpoints)
        self._kept = time.monotonic()
        self.trackers.follow()

    def close(self) -> None:
        """Closes the files and the display."""
        self.view.close()
        self.trackers.close()
        for lines in (self.metrics, self.samples, self.timing):
            lines.close()

    # -- inside the loop --------------------------------------------------------------------------------------------

    def _restore(self, state: Mapping[str, Stateful]) -> int:
        tree = checkpoint.load_newest(self.directory / "checkpoints")
        if tree is None:
            self.metrics.cut(0)
            self.samples.cut(0)
            return 0
        for name, part in state.items():
            part.load_state_dict(tree[name])
        self.metrics.cut(tree["sizes"]["metrics"])
        self.samples.cut(tree["sizes"]["samples"])
        logger.info("%s goes on after step %d", self.directory, tree["step"])
        return int(tree["step"])

    def _disk_need(self, state: Mapping[str, Stateful], policy: LanguageModel) -> int:
        """Bytes that the run will hold at most: one checkpoint more than are kept, the best weights and their
        successor, and the final model."""
        held = checkpoint.size({name: part.state_dict() for name, part in state.items()})
        best = sum(part.nbytes for part in trainable(policy.model).values())
        final = sum(part.nbytes for part in policy.model.parameters())
        return (self.keeping.checkpoints + 1) * held + 2 * best + final

    @contextmanager
    def _stopping_between_steps(self) -> Generator[None]:
        """While open, a request to stop waits for the step's checkpoint; elsewhere it ends the run at once, since what
        comes after training is done anew."""
        self.stepping = True
        try:
            yield
        finally:
            self.stepping = False
        self._leave_if_asked()

    def _leave_if_asked(self) -> None:
        if self.stop_signal is not None:
            raise SystemExit(128 + self.stop_signal)

    def _advance(self, step: int) -> None:
        if self.budget is not None and self.budget.unit == "compute":
            self.progress = self.meter.used("compute") / self.budget.own
        else:
            self.progress = self._share(step)

    def _look(self, step: int, policy: LanguageModel, validate: Callable[[LanguageModel], Mapping[str, float]]) -> None:
        faults.point("validation")
        found = validate(policy)
        self.log(found, "validation/")
        if self.selection.seen(self.progress, step, found["score"]):
            with new_directory(self.directory / "best") as aside:
                weights = {name: part.detach().contiguous() for name, part in trainable(policy.model).items()}
                save_file(weights, aside / "weights.safetensors")

    def _take_best(self, policy: LanguageModel) -> None:
        weights = load_file(self.directory / "best" / "weights.safetensors")
        with torch.no_grad():
            for name, parameter in trainable(policy.model).items():
                parameter.copy_(weights[name])

    def _write(self, step: int, seconds: float, learner: Stateful | None) -> None:
        counts = self.meter.state_dict()
        updates = {"updates": learner.updates} if isinstance(learner, Learner) else {}  # a step may hold many, or none
        told = self._verdicts.total()
        verdicts = {f"{VERDICT}{name}": count / told for name, count in sorted(self._verdicts.items())}
        self.metrics.write({"step": step, "progress": self.progress, **self._record, **verdicts, **counts, **updates})
        for sample in self._samples:
            self.samples.write({"step": step, **sample})
        faults.point("metrics.written")
        self.timing.write({"step": step, "seconds": round(seconds, 4), "pid": os.getpid()})
        self.view.show(step, self.progress, self._record, counts)

    def _keep(self, step: int, state: Mapping[str, Stateful]) -> None:
        if self.stop_signal is not None or time.monotonic() - self._kept >= self.keeping.checkpoint_seconds:
            self.checkpoint(step, state)
        self._leave_if_asked()


@contextmanager
def open_run(
    directory: Path,
    manifest: Mapping[str, Any],
    *,
    seed: int,
    budget: Budget | None = None,
    evaluations: int = 1,
    keeping: Keeping | None = None,
    fresh: bool = False,
    label: str = "",
) -> Generator[Run]:
    """Takes a directory for one run and one writer.

    A directory without preflab's manifest is taken and foreign files in it are left alone; the same manifest resumes;
    another one's is refused (`UserError`). SIGTERM and Ctrl-C end the run at the next step with a checkpoint.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UserError(f"{directory} cannot be made: {error.strerror}. Choose another --output.") from error
    with locked(directory):
        if fresh:
            clear(directory)
        claim(directory, {"format": FORMAT, **manifest})
        with (
            logged(directory),
            closing(
                Run(
                    directory,
                    seed=seed,
                    budget=budget,
                    evaluations=evaluations,
                    keeping=keeping or Keeping(),
                    label=label or directory.name,
                )
            ) as run,
            stopping(run),
        ):
            yield run


@contextmanager
def stopping(run: Run) -> Generator[None]:
    """While open, SIGTERM and SIGINT ask the run to stop at its next step; a second one ends it at once.

    Python takes signals in its main thread alone; in another nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(signum: int, frame: object) -> None:
        run.stop_signal = signum
        signal.signal(signum, signal.SIG_DFL)
        if not run.stepping:
            raise SystemExit(128 + signum)

    before = {signum: signal.signal(signum, ask) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
