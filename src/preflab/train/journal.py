"""What no seed can repeat (an endpoint's answer, a draw from a policy that has moved on) is written down before it is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from preflab.meter import Meter
from preflab.train.files import read_json, write_json
from preflab.train.record import RunRecord


class Journal:
    """The directory `journal/` of a run: one file a key."""

    def __init__(self, directory: Path, meter: Meter, record: RunRecord) -> None:
        self.directory = directory / "journal"
        self.meter = meter
        self.record = record

    def replay(self, key: str, compute: Callable[[], Any]) -> Any:
        """JSON data written down under `key` before it is used, with what computing it cost, the samples that it put into the
        step's record and the verdicts that it brought: a resumed run reads all four."""
        path = self.directory / f"{key}.json"
        counts, samples, verdicts = self.meter.state_dict(), len(self.record.samples), self.record.verdicts.copy()
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            value = compute()
            used = {name: count - counts[name] for name, count in self.meter.state_dict().items()}
            entry = {"value": value, "used": used, "samples": self.record.samples[samples:]}
            write_json(path, {**entry, "verdicts": self.record.verdicts - verdicts})
        entry = read_json(path)
        self.meter.load_state_dict({name: count + entry["used"][name] for name, count in counts.items()})
        self.record.samples[samples:] = entry["samples"]
        self.record.verdicts = verdicts + Counter(entry["verdicts"])
        return entry["value"]
