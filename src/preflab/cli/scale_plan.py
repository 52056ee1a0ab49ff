"""Formats the output of `preflab study --plan --cluster FILE`."""

from __future__ import annotations

from preflab.study.forecast.at_scale import PHASES, SMALL_BUDGET, ScaleForecast, ScaleRow
from preflab.study.spec import Study
from preflab.study.tuning import must_tune
from preflab.text import counted

SMALLEST = 1e8
"""The number of parameters from which on the formulas hold."""
_HEAD = ("run", "method", "runs", "model", "GPUs", "GiB", *PHASES, "hours", "GPU hours", "from", "to")


def format_scale(study: Study, forecast: ScaleForecast) -> str:
    """Returns a table of the stages, arms and matches of a study on a cluster, and what they take together."""
    cluster = forecast.cluster
    table = [_HEAD, *map(_cells, forecast.rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [": ".join(filter(None, (study.name, study.question))), ""]
    lines += ["  " + "  ".join(_aligned(row, widths)).rstrip() for row in table]
    lines += [
        "",
        f"  {counted(sum(row.runs for row in forecast.rows), 'run')} on {counted(cluster.nodes, 'machine')} with "
        f"{counted(cluster.gpus_per_node, 'GPU')}: {forecast.gpu_hours:,.0f} GPU hours, {_hours(forecast.hours)} hours "
        f"until the last one ends; {forecast.busy:.0%} of the GPUs' time is used.{_price(forecast)}",
        "  Computed by formulas (docs/scale.md), not measured. Hours are those of one run; `from` and `to` are hours after "
        "the start.",
        f"  Rows: prompts of {forecast.row.prompt:.0f} and answers of {forecast.row.answer:.0f} tokens in the mean. "
        f"Utilisation: training {cluster.training:.0%}, reading {cluster.reading:.0%}, decoding {cluster.decoding:.0%}.",
    ]
    if study.tuning is not None and must_tune(study.tuning, tune=False):
        lines.append("  Not counted: the tuning stage, which runs first.")
    if any(row.plan.placement.recomputes for row in forecast.rows):
        lines.append(f"  *: needs --checkpoint-activations, or this with micro-batches of {SMALL_BUDGET:,} tokens.")
    if any(row.plan.parameters < SMALLEST for row in forecast.rows):
        lines.append(
            "  Models below 0.1B parameters take longer: they wait for the start of each operation, which is not computed."
        )
    if any(row.plan.placement.gpus > 1 for row in forecast.rows):
        lines.append(
            "  preflab trains a run on one GPU today. Where more are named, the weights are taken to be sharded."
        )
    return "\n".join(lines)


def _cells(row: ScaleRow) -> tuple[str, ...]:
    return (
        f"{row.part} {row.name}",
        row.method,
        f"{row.runs}",
        f"{row.plan.parameters / 1e9:.3g}B" if row.plan.parameters >= 1e8 else f"{row.plan.parameters / 1e6:.3g}M",
        f"{row.plan.placement.gpus}",
        f"{row.plan.placement.gib:.0f}{'*' if row.plan.placement.recomputes else ''}",
        *(_hours(row.plan.phases.get(phase, 0.0)) for phase in PHASES),
        _hours(row.plan.hours),
        f"{row.gpu_hours:,.1f}",
        _hours(row.first_start),
        _hours(row.last_end),
    )


def _aligned(cells: tuple[str, ...], widths: list[int]) -> list[str]:
    """Returns the cells at the width of their columns: the two texts at the left, numbers at the right."""
    pairs = list(zip(cells, widths, strict=True))
    return [cell.ljust(width) for cell, width in pairs[:2]] + [cell.rjust(width) for cell, width in pairs[2:]]


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}" if hours else "0"


def _price(forecast: ScaleForecast) -> str:
    dollars = forecast.cluster.dollars
    return "" if dollars is None else f" At ${dollars:g} for a GPU hour: ${dollars * forecast.gpu_hours:,.0f}."
