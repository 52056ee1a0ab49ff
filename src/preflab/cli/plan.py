"""Formats the output of `preflab study --plan`."""

from __future__ import annotations

from preflab.analysis.record import known_measure
from preflab.study.forecast.detectable import POWER
from preflab.study.forecast.make import Forecast, ForecastRow
from preflab.study.spec import Study
from preflab.text import counted


def format_plan(study: Study, forecast: Forecast) -> str:
    """Returns a text that lists the stages, arms and matches of a study, with the expected time of each on this
    machine."""
    lines = [": ".join(filter(None, (study.name, study.question))), ""]
    width = max(12, *(len(row.name) for row in forecast.rows))
    lines += [
        f"  {row.part:<6} {row.name:<{width}} {row.method:<14} {counted(row.runs, 'seed')}, {row.done} done, "
        f"about {row.seconds / 60:.1f} min{_format_memory(row)}{_format_requests(row)} each"
        for row in forecast.rows
    ]
    hours = forecast.seconds / 3600
    lines += ["", f"  {forecast.runs} runs, {forecast.at_once} at a time: about {hours:.2f} hours on this machine."]
    if forecast.look_seconds:
        looks = [f"after {seeds} seeds, {seconds / 3600:.2f} hours" for seeds, seconds in forecast.look_seconds.items()]
        lines.append(f"  The study can stop at a look: {'; '.join(looks)}.")
    if study.tuning is not None:
        when = "shipped with the study"
        if forecast.tunes:
            when = f"run first, about {forecast.tuning_seconds / 3600:.2f} hours more"
        lines.append(f"  Tuning: {forecast.trials} trials, {when}.")
        if forecast.tunes:
            lines.append(
                "  Not counted: further trials beyond the grid, one with each tuning seed, if a best value is at its edge."
            )
    if any(job.plateau is not None for job in (*study.stages.values(), *study.arms.values())):
        lines.append("  Runs that end at a plateau may be shorter: their times above are upper limits.")
    if forecast.uncounted:
        lines.append(f"  Not counted, because its time is not known: {' and '.join(forecast.uncounted)}.")
    lines += _format_detectable(study, forecast)
    return "\n".join(lines)


def _format_detectable(study: Study, forecast: Forecast) -> list[str]:
    """Returns a heading and one line for each claim of the study. The line gives the claim's margin, and the smallest
    difference that the study can detect for the claim. If this difference is larger than the margin, the line says that
    a gain as large as the margin may stay undecided."""
    if not forecast.detectable:
        return []
    declared = {each.name: each for row in study.measures.values() for each in row}

    def words(value: float, measure: str) -> str:
        return f"{100 * value:.1f} points" if declared.get(measure, known_measure(measure)).share else f"{value:.2g}"

    sources = dict.fromkeys(row.source for row in forecast.detectable)
    lines = ["", f"  What each claim can detect in {POWER:.0%} of studies, estimated from {' and '.join(sources)}:"]
    width = max(len(row.claim) for row in forecast.detectable)
    for row in forecast.detectable:
        difference, margin = words(row.difference, row.measure), words(row.margin, row.measure)
        line = f"  {row.claim:<{width}} {difference} of {row.measure}, margin {margin}"
        small = row.difference > row.margin
        lines.append(line + (": a gain of this size may stay undecided" if small else ""))
    return lines


def _format_requests(row: ForecastRow) -> str:
    return f" and at most {row.requests:,} requests" if row.requests else ""


def _format_memory(row: ForecastRow) -> str:
    if row.memory is None:
        return ""
    return f" and {'' if row.memory.is_whole else 'at least '}{row.memory.gib:.1f} GiB"
