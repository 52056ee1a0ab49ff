"""Counts how often the longer answer of a pair is chosen."""

from __future__ import annotations


class LengthBias:
    """Counts how often the chosen answer of a pair is the longer one."""

    def __init__(self) -> None:
        self.longer = self.shorter = self.equal = 0

    def add(self, chosen: int, rejected: int) -> None:
        self.longer += chosen > rejected
        self.shorter += chosen < rejected
        self.equal += chosen == rejected

    @property
    def longer_wins(self) -> float | None:
        """The share of pairs whose chosen answer is the longer one, counted among the pairs whose answers differ in
        length. None if there are no such pairs."""
        unequal = self.longer + self.shorter
        return self.longer / unequal if unequal else None

    @property
    def length_only_accuracy(self) -> float | None:
        """The accuracy of a rule that predicts the chosen answer from the lengths alone. The rule always picks the
        longer answer, or always the shorter one, whichever is right more often. A pair of answers of equal length
        counts as half right. None if there are no pairs."""
        pairs = self.longer + self.shorter + self.equal
        return (max(self.longer, self.shorter) + self.equal / 2) / pairs if pairs else None
