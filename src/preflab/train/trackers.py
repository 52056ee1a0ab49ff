"""Sends the metrics of a run to TensorBoard, and to Weights & Biases if a project is named.

TensorBoard and Weights & Biases get copies of the records in `metrics.jsonl`. A process that resumes a run writes the
event file of TensorBoard again from the beginning.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.train.files import read_json
from preflab.train.ownership import EVENTS, METRICS, remove_own
from preflab.train.sealed import read_sealed, write_sealed


class Trackers:
    """Sends new metrics to every tracker."""

    def __init__(self, directory: Path, *, wandb: str | None, label: str) -> None:
        self.metrics = directory / METRICS
        self.position = 0
        self.trackers: list[TensorBoard | WeightsAndBiases] = [TensorBoard(directory / "tensorboard" / EVENTS)]
        if wandb is not None:
            self.trackers.append(WeightsAndBiases(directory, project=wandb, label=label))

    def follow(self) -> None:
        """Sends the metrics since the last call to every tracker. Must be called only after a checkpoint or at the end,
        because a resumed run removes metrics that were written after the last checkpoint."""
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
    """Writes an event file that TensorBoard reads, with one framed protocol buffer for each event. The writer class of
    TensorBoard writes the same files, but starts a thread. This class starts no thread."""

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
        """Writes an event. TensorBoard is imported only when the first event is written, because the import takes
        time."""
        from tensorboard.compat.proto import event_pb2

        if self.writer is None:
            from tensorboard.summary.writer.record_writer import RecordWriter

            remove_own(self.path.parent.parent, self.path.parent.name)
            self.path.parent.mkdir(exist_ok=True)
            self.writer = RecordWriter(self.path.open("wb"))
            self._event(file_version="brain.Event:2")
        messages: Any = event_pb2  # protobuf creates the classes of this module at run time
        self.writer.write(messages.Event(wall_time=time.time(), **fields).SerializeToString())


class WeightsAndBiases:
    """Sends metrics to a run of a W&B project. The id of the W&B run is saved in the run directory, so that a resumed
    run continues the same W&B run."""

    def __init__(self, directory: Path, *, project: str, label: str) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]  # an extra
        except ImportError as error:
            raise UserError(
                "Tracking with W&B needs the package `wandb`. Run: pip install 'preflab[wandb]'."
            ) from error
        kept = directory / "wandb.json"
        if not kept.exists():
            write_sealed(kept, {"id": secrets.token_hex(8)})
        own_id = read_sealed(kept, {"id": str})["id"]
        config = read_json(directory / "manifest.json")
        self.run: Any = wandb.init(
            project=project, name=label, id=own_id, resume="allow", dir=str(directory), config=config
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def flush(self) -> None:
        """Does nothing, because W&B sends the metrics in the background."""

    def close(self) -> None:
        self.run.finish()
