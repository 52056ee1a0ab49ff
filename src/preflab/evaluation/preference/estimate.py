"""Describes the endpoint calls that are still needed, and their cost. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CHARACTERS_A_TOKEN = 4.0
"""The number of characters in a token, for estimates. English text has about four."""


@dataclass(frozen=True)
class CallEstimate:
    """calls: the number of requests whose replies are not in the cache. cached: the number of requests whose replies
    are in the cache. tokens_in: the expected number of tokens of the requests. tokens_out: the largest possible number
    of tokens of the replies. cost: the cost in the currency of the prices; None if there are no prices."""

    calls: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None

    def describe(self) -> str:
        """Returns the estimate in words, such as '200 calls (0 more in the cache), about 90,000 tokens in and at most
        40,000 tokens out, cost at most about 0.25'."""
        words = f"{self.calls:,} calls ({self.cached:,} more in the cache)"
        if self.calls:
            words += f", about {self.tokens_in:,} tokens in and at most {self.tokens_out:,} tokens out"
        return words if self.cost is None else f"{words}, cost at most about {self.cost:,.2f}"


def count_tokens(texts: Sequence[str]) -> int:
    """Returns the approximate number of tokens of the texts."""
    return round(sum(len(text) for text in texts) / CHARACTERS_A_TOKEN)
