"""Saves values that no seed can reproduce, such as scores from an endpoint, before a run uses the values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.meter import Meter
from preflab.train.files import remove
from preflab.train.log import logger
from preflab.train.record import RunRecord
from preflab.train.sealed import Form, make_seal, read_sealed, write_sealed

ENTRY: Form = {"value": object, "used": dict, "samples": list, "verdicts": dict, "after": str}


class Journal:
    """The directory `journal/` of a run, with one entry for each key. An entry is a JSON file with a seal, which is a
    checksum of the entry.

    The field `after` of an entry contains the seal of the previous entry. A resumed run reads an entry only if the
    entry's `after` is the seal of the last entry that the run used. If an entry is damaged or missing, the run computes
    it again. If the new entry differs from the old entry, the run also computes all later entries again. A checkpoint
    contains the seals of all entries that the run has used so far, and these entries must not change.
    """

    def __init__(self, directory: Path, meter: Meter, record: RunRecord) -> None:
        self.directory = directory / "journal"
        self.meter = meter
        self.record = record
        self.seals: dict[str, str] = {}  # the seals of the entries that the run has used
        self.last = ""

    def replay(self, key: str, compute: Callable[[], Any]) -> Any:
        """Returns the JSON value of the entry `key`. If there is no such entry, first computes the value and writes the
        entry. The entry also records how the computation changed the meter, the step's samples and the verdicts. If the
        entry already exists, these changes are made again. Raises `UserError` if an entry that the run has used is
        damaged."""
        path, before = self.path(key), self.last
        counts, samples, verdicts = self.meter.state_dict(), len(self.record.samples), self.record.verdicts.copy()
        if not self._can_read(key):
            path.parent.mkdir(exist_ok=True)
            value = compute()
            used = {name: count - counts[name] for name, count in self.meter.state_dict().items()}
            entry = {"value": value, "used": used, "samples": self.record.samples[samples:], "after": before}
            write_sealed(path, {**entry, "verdicts": self.record.verdicts - verdicts})
        entry = read_sealed(path, ENTRY)
        if key not in self.seals:
            self.last = self.seals[key] = make_seal(path.name, entry)
        self.meter.load_state_dict({name: count + entry["used"][name] for name, count in counts.items()})
        self.record.samples[samples:] = entry["samples"]
        self.record.verdicts = verdicts + Counter(entry["verdicts"])
        return entry["value"]

    def path(self, key: str) -> Path:
        return self.directory / f"{key}.json"

    def check(self, state: Mapping[str, Any]) -> None:
        """Raises `UserError` if an entry has changed since `state_dict` returned `state`."""
        for key, seal in state.get("seals", {}).items():
            path = self.path(key)
            if make_seal(path.name, read_sealed(path, ENTRY)) != seal:
                raise UserError(f"{path} is damaged: it differs from the entry that the run used.")

    def state_dict(self) -> dict[str, Any]:
        return {"seals": dict(self.seals), "last": self.last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        seals = dict(state.get("seals", {}))  # a checkpoint loses empty dictionaries
        if not all(isinstance(seal, str) for seal in (*seals.values(), state["last"])):
            raise ValueError("a seal is not a string")
        self.seals, self.last = seals, state["last"]

    def _can_read(self, key: str) -> bool:
        """Returns True if the run has used this entry, or if the entry follows the last entry that the run has used.
        Otherwise removes the entry and returns False. Raises `UserError` if an entry that the run has used is
        damaged."""
        path = self.path(key)
        if key in self.seals:
            self.check({"seals": {key: self.seals[key]}})
            return True
        if not path.exists():
            return False
        try:
            if read_sealed(path, ENTRY)["after"] == self.last:
                return True
            reason = f"{path} follows an entry that no longer exists."
        except UserError as error:
            reason = f"{error}"
        logger.warning("%s This entry is computed again.", reason)
        remove(path)
        return False
