"""Counts the compute and the labels that an arm uses.

A token costs 2N FLOP of compute in a forward pass or in sampling, and 6N FLOP in training (a forward and a backward
pass). N is the number of parameters of the model that processes the token. The critic, the reference model and the
reward model are charged like the policy. A label is a preference label or a call of a reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Unit = Literal["compute", "labels"]


class Meter:
    """Counts the compute and the labels that an arm uses. A checkpoint stores the counts, so that a resumed arm
    continues with the same counts."""

    def __init__(self) -> None:
        self.counts: dict[str, float] = {
            "flops": 0.0,
            "labels": 0.0,
            "sampled_tokens": 0.0,
            "forward_tokens": 0.0,
            "trained_tokens": 0.0,
        }

    def sampled(self, parameters: int, prompt_tokens: int, new_tokens: int) -> None:
        """Charges a sampler for reading `prompt_tokens` and for drawing `new_tokens`: 2N for each of these tokens."""
        self.counts["flops"] += 2.0 * parameters * (prompt_tokens + new_tokens)
        self.counts["sampled_tokens"] += new_tokens

    def forward(self, parameters: int, tokens: int) -> None:
        """Charges a forward pass: 2N for each token."""
        self.counts["flops"] += 2.0 * parameters * tokens
        self.counts["forward_tokens"] += tokens

    def trained(self, parameters: int, tokens: int) -> None:
        """Charges a forward and a backward pass: 6N for each token."""
        self.counts["flops"] += 6.0 * parameters * tokens
        self.counts["trained_tokens"] += tokens

    def labelled(self, labels: int) -> None:
        """Charges preference labels or reward calls."""
        self.counts["labels"] += labels

    def used(self, unit: Unit) -> float:
        """Returns the FLOP (unit `compute`) or the labels (unit `labels`) used so far."""
        return self.counts["flops" if unit == "compute" else "labels"]

    def state_dict(self) -> dict[str, Any]:
        return dict(self.counts)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.counts = {name: float(state[name]) for name in self.counts}
