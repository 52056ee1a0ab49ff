"""What follows a run for people: TensorBoard's event files, and Weights & Biases where asked. Both are fed from
`metrics.jsonl`, which is the record; a process that resumes rebuilds the event file from the beginning."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from preflab.errors import UserError
from preflab.train.files import read_json, write_json

EVENTS = "tensorboard/events.out.tfevents.0000000000.preflab"  # TensorBoard reads by this prefix


class Tracker(Protocol):
    def write(self, step: int, values: Mapping[str, float]) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class Trackers:
    """Feeds every tracker what has been added to the metrics since it was last asked."""

    def __init__(self, directory: Path, *, wandb: str | None, label: str) -> None:
        self.metrics = directory / "metrics.jsonl"
        self.position = 0
        self.trackers: list[Tracker] = [TensorBoard(directory / EVENTS)]
        if wandb is not None:
            self.trackers.append(WeightsAndBiases(directory, project=wandb, label=label))

    def follow(self) -> None:
        """Hands on the records that are new; asked at checkpoints, whose records are never taken back."""
        with self.metrics.open("rb") as file:
            file.seek(self.position)
            for line in file:
                record = json.loads(line)
                for tracker in self.trackers:
                    tracker.write(record["step"], {name: value for name, value in record.items() if name != "step"})
            self.position = file.tell()
        for tracker in self.trackers:
            tracker.flush()

    def close(self) -> None:
        for tracker in self.trackers:
            tracker.close()


class TensorBoard:
    """An event file: framed protocol buffers, one an event, as TensorBoard's own writer makes them from a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer: Any = None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto import summary_pb2

        made: Any = summary_pb2  # its classes are made at run time
        summary = made.Summary(
            value=[made.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        )
        self._event(step=step, summary=summary)

    def flush(self) -> None:
        if self.writer is not None:
            self.writer.flush()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()

    def _event(self, **fields: Any) -> None:
        """TensorBoard is imported with the first event: most of what a run does is no business of it."""
        from tensorboard.compat.proto import event_pb2

        if self.writer is None:
            from tensorboard.summary.writer.record_writer import RecordWriter

            shutil.rmtree(self.path.parent, ignore_errors=True)
            self.path.parent.mkdir()
            self.writer = RecordWriter(self.path.open("wb"))
            self._event(file_version="brain.Event:2")
        made: Any = event_pb2
        self.writer.write(made.Event(wall_time=time.time(), **fields).SerializeToString())


class WeightsAndBiases:
    """One run of a W&B project, which a resumed process goes on with: its id is kept in the run directory."""

    def __init__(self, directory: Path, *, project: str, label: str) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]  # an extra
        except ImportError as error:
            raise UserError("Tracking with W&B needs its package: pip install 'preflab[wandb]'.") from error
        kept = directory / "wandb.json"
        if not kept.exists():
            write_json(kept, {"id": secrets.token_hex(8)})
        config = read_json(directory / "manifest.json")
        tracked: Any = wandb.init(
            project=project, name=label, id=read_json(kept)["id"], resume="allow", dir=str(directory), config=config
        )
        self.run = tracked

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def flush(self) -> None:
        """W&B sends by itself."""

    def close(self) -> None:
        self.run.finish()
