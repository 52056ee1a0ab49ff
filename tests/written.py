"""The smallest result of a run, for tests that write the directories of runs by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COUNTS = {"flops": 0.0, "labels": 0.0, "sampled_tokens": 0.0, "forward_tokens": 0.0, "trained_tokens": 0.0}


def written(**changes: Any) -> dict[str, Any]:
    """What a stage's `result.json` holds, with these fields changed."""
    return {
        "name": "sft",
        "seed": 0,
        "method": "sft",
        "product": "policy",
        "parameters": 10,
        "notices": [],
        "data_notes": [],
        "diverged": None,
        "counts": COUNTS,
        "best": {"done": 0, "best_score": None, "best_step": 0},
        **changes,
    }


def evaluated(
    measures: Mapping[str, float],
    problems: Mapping[str, list[float]] | None = None,
    *,
    temperature: float = 0.0,
    kl: float | None = None,
) -> dict[str, Any]:
    """What `evaluation` holds for an arm with these measures, and these scores of each problem, at both decodings."""
    rows = {name: {"level": "", "scores": scores} for name, scores in (problems or {}).items()}
    part = {"measures": dict(measures), "problems": rows}
    return {
        "temperature": temperature,
        "validation": {"1.0": 0.5},
        "inference": {"n": 1},
        "chosen": part,
        "unit": {**part, "kl": {"estimate": kl, "estimator": "k3", "entropy": None}},
        "samples": [],
    }
