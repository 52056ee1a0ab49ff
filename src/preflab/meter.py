"""What an arm has used, and the one budget that binds.

Compute is counted as 2N FLOP per forward or sampled token and 6N per trained token, N being the parameters of the model
at work; critic, reference and reward model are charged like the policy. Labels are preference labels or reward calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Unit = Literal["compute", "labels"]


class Meter:
    """Counts what an arm uses; a checkpoint keeps it."""

    def __init__(self) -> None:
        self.counts: dict[str, float] = {
            "flops": 0.0,
            "labels": 0.0,
            "sampled_tokens": 0.0,
            "forward_tokens": 0.0,
            "trained_tokens": 0.0,
        }

    def sampled(self, parameters: int, prompt_tokens: int, new_tokens: int) -> None:
        """A sampler read `prompt_tokens` and drew `new_tokens`: 2N each."""
        self.counts["flops"] += 2.0 * parameters * (prompt_tokens + new_tokens)
        self.counts["sampled_tokens"] += new_tokens

    def forward(self, parameters: int, tokens: int) -> None:
        """A forward pass: 2N a token."""
        self.counts["flops"] += 2.0 * parameters * tokens
        self.counts["forward_tokens"] += tokens

    def trained(self, parameters: int, tokens: int) -> None:
        """Forward and backward: 6N a token."""
        self.counts["flops"] += 6.0 * parameters * tokens
        self.counts["trained_tokens"] += tokens

    def labelled(self, labels: int) -> None:
        self.counts["labels"] += labels

    def used(self, unit: Unit) -> float:
        """FLOP or labels so far."""
        return self.counts["flops" if unit == "compute" else "labels"]

    def state_dict(self) -> dict[str, Any]:
        return dict(self.counts)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.counts = {name: float(count) for name, count in state.items()}
