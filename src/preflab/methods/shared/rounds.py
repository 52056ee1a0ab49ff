"""Runs the rounds of DPO-Iter and expert iteration. Each round draws data from the newest policy and trains on these
data.

The run's journal stores the data of a round before the policy trains on them. A resumed run reads the data from the
journal, because the policy has changed since the draw, and would draw different data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, Self, TypeVar

from preflab.errors import UserError
from preflab.train.loop import Run
from preflab.train.state import require_count, require_number


class Rows(Protocol):
    def __len__(self) -> int: ...
    def select(self, rows: Any) -> Self: ...


Data = TypeVar("Data", bound=Rows)


@dataclass
class Rounds(Generic[Data]):
    """The rounds of a method: `rounds` rounds, each with `epochs` passes over its data in batches of `batch_size`.
    `number` is the index of the current round, and `update` is the index of the next update in this round.

    `draw(number)` draws the data of a round and returns the data as a JSON value. `draw` must not log, because a
    resumed run reads the stored data and does not call `draw`. `read(drawn)` turns these data into a batch, or returns
    None if the data contain nothing to learn from. `barren`: the end of the error message for a run in which no round
    has data to learn from. `fruitful`: whether any round so far had data to learn from. `drawn`: the data of the
    current round, as stored in the journal.
    """

    run: Run
    rounds: int
    epochs: int
    batch_size: int
    draw: Callable[[int], Any]
    read: Callable[[Any], Data | None]
    barren: str
    number: int = -1
    update: int = 0
    updates: int = 0
    fruitful: bool = False
    drawn: Any = None
    data: Data | None = None

    @property
    def size(self) -> int:
        return len(self.data) if self.data is not None else 0

    @property
    def within(self) -> float:
        """The share of the current round's updates that are done."""
        return self.update / self.updates if self.updates else 1.0

    def share(self, step: int) -> float:
        """Returns the share of all rounds that are done. `Run.steps` calls this function if the run has no compute
        budget."""
        return (self.number + self.within) / self.rounds

    def finished(self) -> bool:
        return self.update >= self.updates

    def begin(self) -> bool:
        """Begins the next round. Returns False if the data of this round contain nothing to learn from.

        Raises `UserError` if this is the last planned round and no round had data to learn from.
        """
        self.number += 1
        self.update = 0
        self._load()
        self.fruitful |= self.updates > 0
        if not self.fruitful and self.number + 1 >= self.rounds:
            raise UserError(f"{self.rounds} rounds of samples gave {self.barren}")
        return self.updates > 0

    def next_batch(self) -> Data:
        """Returns the rows of the next update, from shuffled passes over the data of the round."""
        assert self.data is not None
        size, batch = len(self.data), self.batch_size
        per_pass = -(-size // batch)
        order = self.run.seeds.permute(size, "round", self.number, "pass", self.update // per_pass)
        place = self.update % per_pass
        self.update += 1
        return self.data.select(order[place * batch : (place + 1) * batch])

    def _load(self) -> None:
        self.drawn = self.run.journal.replay(f"round-{self.number:04d}", partial(self.draw, self.number))
        self.data = self.read(self.drawn)
        self.updates = self.epochs * -(-self.size // self.batch_size)

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number, "update": self.update, "fruitful": self.fruitful}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.number, self.update = int(require_number(state, "number")), require_count(state, "update")
        self.fruitful = bool(state["fruitful"])
        if self.number >= 0:
            self._load()
