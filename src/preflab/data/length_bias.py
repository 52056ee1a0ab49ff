"""Measures how often the chosen answer of a pair is the longer answer."""

from __future__ import annotations


class LengthBias:
    """Counts the pairs whose chosen answer is longer than, shorter than or as long as the rejected answer."""

    def __init__(self) -> None:
        self.longer = self.shorter = self.equal = 0

    def add(self, chosen: int, rejected: int) -> None:
        self.longer += chosen > rejected
        self.shorter += chosen < rejected
        self.equal += chosen == rejected

    @property
    def longer_wins(self) -> float | None:
        """The fraction of pairs in which the longer answer is the chosen answer. Pairs of equally long answers do not
        count. None if all pairs have equally long answers, or if there are no pairs."""
        unequal = self.longer + self.shorter
        return self.longer / unequal if unequal else None

    @property
    def length_only_accuracy(self) -> float | None:
        """The accuracy of a rule that predicts the chosen answer from the lengths alone. One rule always predicts the
        longer answer. Another rule always predicts the shorter answer. The more accurate rule is used. A pair of
        equally long answers counts as half right. None if there are no pairs."""
        pairs = self.longer + self.shorter + self.equal
        return (max(self.longer, self.shorter) + self.equal / 2) / pairs if pairs else None
