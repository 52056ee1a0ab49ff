"""Formats the summary that `train` and `evaluate` print about a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def summarize_run(result: dict[str, Any], directory: Path) -> str:
    """Summarizes a finished run in a few lines. `result`: the content of its `result.json`."""
    if result["diverged"]:
        advice = f"Lower the learning rate, or check the data. See {directory}."
        return f"{result['name']} diverged: {result['diverged']} {advice}"
    lines = [f"{result['name']}: done, in {directory}"]
    evaluation = result.get("evaluation")
    if evaluation is not None and "chosen" in evaluation:
        for name, label in (("chosen", f"temperature {evaluation['temperature']}"), ("unit", "temperature 1")):
            measures = {key: value for key, value in evaluation[name]["measures"].items() if key != "score"}
            lines.append(f"  {label}: score {evaluation[name]['measures']['score']:.3f}  {_join(measures)}")
        kl = evaluation["unit"]["kl"]
        if kl["estimate"] is not None:
            lines.append(f"  KL to the start: {kl['estimate']:.3f} nats a response ({kl['estimator']})")
    elif "held_out" in result:
        for split, measures in (("validation", result["validation"]), ("test", result["held_out"])):
            numbers = {name: value for name, value in (measures or {}).items() if isinstance(value, float)}
            lines += [f"  held out ({split} split): {_join(numbers)}"] if numbers else []
    else:
        last = {name: value for name, value in result["last"].items() if "validation/" in name}
        lines += [f"  {_join(last)}"] if last else []
    return "\n".join(lines)


def _join(measures: dict[str, float]) -> str:
    return "  ".join(f"{name.removeprefix('validation/')} {value:.3f}" for name, value in measures.items())
