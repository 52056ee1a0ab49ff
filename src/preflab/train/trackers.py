"""Trackers let people follow a run: TensorBoard reads its event file, and Weights & Biases is used if a project is named.
Both get copies of the records in `metrics.jsonl`. A process that resumes a run writes the event file again from the
beginning."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.train.files import read_json, remove, write_json

EVENT_FILE = "tensorboard/events.out.tfevents.0000000000.preflab"  # TensorBoard reads files with this prefix


class Trackers:
    """Hands every tracker the metrics that are new since the last time."""

    def __init__(self, directory: Path, *, wandb: str | None, label: str) -> None:
        self.metrics = directory / "metrics.jsonl"
        self.position = 0
        self.trackers: list[TensorBoard | WeightsAndBiases] = [TensorBoard(directory / EVENT_FILE)]
        if wandb is not None:
            self.trackers.append(WeightsAndBiases(directory, project=wandb, label=label))

    def follow(self) -> None:
        """Hands the new records to every tracker. Called at checkpoints, since records before a checkpoint are never
        removed."""
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
    """An event file with one framed protocol buffer for each event. TensorBoard's own writer makes files of this form too,
    but in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer: Any = None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        tagged = [{"tag": name, "simple_value": value} for name, value in values.items()]
        self._event(step=step, summary={"value": tagged})

    def flush(self) -> None:
        if self.writer is not None:
            self.writer.flush()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()

    def _event(self, **fields: Any) -> None:
        """Writes an event. TensorBoard is imported only for the first event, since most of a run does not need
        TensorBoard."""
        from tensorboard.compat.proto import event_pb2

        if self.writer is None:
            from tensorboard.summary.writer.record_writer import RecordWriter

            remove(self.path.parent)
            self.path.parent.mkdir()
            self.writer = RecordWriter(self.path.open("wb"))
            self._event(file_version="brain.Event:2")
        messages: Any = event_pb2  # its classes are made at run time
        self.writer.write(messages.Event(wall_time=time.time(), **fields).SerializeToString())


class WeightsAndBiases:
    """A run of a W&B project. The run directory keeps the id of this W&B run, so that a resumed process goes on with the
    same W&B run."""

    def __init__(self, directory: Path, *, project: str, label: str) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]  # an extra
        except ImportError as error:
            raise UserError("Tracking with W&B needs its package: pip install 'preflab[wandb]'.") from error
        kept = directory / "wandb.json"
        if not kept.exists():
            write_json(kept, {"id": secrets.token_hex(8)})
        config = read_json(directory / "manifest.json")
        self.run: Any = wandb.init(
            project=project, name=label, id=read_json(kept)["id"], resume="allow", dir=str(directory), config=config
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def flush(self) -> None:
        """Nothing to do: W&B sends by itself."""

    def close(self) -> None:
        self.run.finish()
