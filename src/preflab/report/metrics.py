"""Finds the metrics that a report shows, and each arm's values of these metrics."""

from __future__ import annotations

from preflab.analysis import record
from preflab.analysis.record import ArmResult, Interval, Measure, Results
from preflab.report import numbers

MAIN_METRICS = 4
"""The number of metrics in the report's main table. A separate table shows the other metrics."""


def find_metric(results: Results, name: str) -> Measure:
    """Returns the description of the metric with this name. If the results do not describe the metric, returns a default
    description. The name 'score' stands for the mean score (such as a mean reward or pass@1). The name 'validation'
    stands for the mean score on the validation problems, which the training curves show."""
    if name in ("score", "validation"):
        score = find_metric(results, results.score or ("reward" if results.headline == "reward" else "pass@1"))
        validation = {"name": name, "label": f"{score.label} on validation"}
        return score if name == "score" else score.model_copy(update=validation)
    return next((metric for metric in results.metrics if metric.name == name), record.known_measure(name))


def list_main_metrics(results: Results) -> tuple[Measure, ...]:
    """Returns the metrics of the report's main table: the headline metric, and then the other metrics in the order of
    `Results.metrics`. The table has at most `MAIN_METRICS` metrics."""
    return _order_metrics(results)[:MAIN_METRICS]


def list_metrics_measured_twice(results: Results) -> tuple[Measure, ...]:
    """Returns the metrics that the report's main table shows twice: at the chosen temperature (such as greedy) and at
    temperature 1. These are the headline metric and k@n. k@n is included because it needs several different samples of a
    prompt."""
    headline, *others = list_main_metrics(results)
    return (headline, *(metric for metric in others if metric.is_submitted))


def list_other_metrics(results: Results) -> tuple[Measure, ...]:
    return _order_metrics(results)[MAIN_METRICS:]


def _order_metrics(results: Results) -> tuple[Measure, ...]:
    headline = find_metric(results, results.headline)
    return (headline, *(metric for metric in results.metrics if metric.name != results.headline))


def rank_arms(results: Results) -> list[ArmResult]:
    """Returns the arms ordered by the headline metric at the chosen temperature, the best arm first. Arms without a value
    come last."""
    metric = find_metric(results, results.headline)

    def place(arm: ArmResult) -> tuple[bool, float]:
        value = find_value(arm, metric.name).estimate
        return value is None, (1 if metric.better == "lower" else -1) * (value or 0.0)

    return sorted(results.arms, key=place)


def count_test_problems(results: Results) -> int:
    """Returns the number of test problems on which the headline metric was measured. Returns 0 if this number is
    unknown."""
    return max((find_value(arm, results.headline).problems for arm in results.arms), default=0)


def format_temperatures(arm: ArmResult) -> str:
    """Writes the chosen sampling temperatures of an arm's runs: '0.2, 0.6'. Runs of different seeds can have different
    temperatures. 0 means greedy decoding."""
    chosen = sorted({run.temperature for run in arm.runs if run.temperature is not None})
    return ", ".join(map(numbers.format_tick, chosen))


def find_value(arm: ArmResult, metric: str, *, level: str = "", decoding: record.DecodingChoice = "chosen") -> Interval:
    """Returns an arm's value of a metric with its interval. `level`: the difficulty level; '' for all problems.
    `decoding`: 'chosen' for the chosen temperature, 'unit' for temperature 1. If the metric was not measured, returns an
    `Interval` without an estimate."""
    for item in arm.measures:
        if (item.metric, item.level, item.decoding) == (metric, level, decoding):
            return item.value
    return Interval()


def find_reported_value(arm: ArmResult, metric: str) -> Interval:
    """Returns an arm's value of a metric at the chosen temperature. If the metric was measured only at temperature 1
    (such as the KL), returns the value at temperature 1."""
    chosen = find_value(arm, metric)
    return find_value(arm, metric, decoding="unit") if chosen.estimate is None else chosen
