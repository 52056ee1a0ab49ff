"""Computes the measures of an arm with intervals over seeds and problems, and lists the columns of the report's table.
No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy.stats import t

from preflab.analysis.board import Board
from preflab.analysis.gather import Arms, FinishedRun, mean
from preflab.analysis.record import DecodingChoice, Interval, Measure, MeasuredValue, known_measure
from preflab.analysis.scores import Scores
from preflab.analysis.spread import no_spread
from preflab.analysis.statistics import mean_interval
from preflab.errors import UserError
from preflab.evaluation.measure import on_validation


def measured_values(
    runs: Sequence[FinishedRun],
    boards: Mapping[DecodingChoice, Board],
    headline: str,
    declared: Mapping[str, Measure],
) -> Iterator[MeasuredValue]:
    """Yields the values of an arm's measures with intervals. A measure with a value for each problem gets intervals
    over seeds and problems: one for all problems, and one for each difficulty level. A measure that is measured on other
    items than the testbed's problems gets an interval over seeds and items. Any other measure gets a t interval over
    seeds. All intervals are clipped to the range of the measure. `boards`: the board of the study for each decoding
    setting (such as greedy, or sampling at temperature 1)."""
    ranges = {name: measure.range for name, measure in declared.items()}
    for decoding, board in boards.items():
        by_problem = dict.fromkeys([headline, *board.measures])
        for name in by_problem:
            for level in dict.fromkeys(["", *board.levels.values()]):
                limits = ranges.get(name) or known_measure(name).range
                value = mean_interval(board.table(runs, decoding, level, name)).within(*limits)
                yield MeasuredValue(metric=name, value=value, level=level, decoding=decoding)
        names = dict.fromkeys(name for run in runs for name in run.measures(decoding))
        for name in names:
            known = [value for run in runs if (value := run.measures(decoding).get(name)) is not None]
            if (items := tabulate_items(runs, name)) is not None:
                value = mean_interval(items).within(*(ranges.get(name) or known_measure(name).range))
                yield MeasuredValue(metric=name, value=value, decoding=decoding)
            elif known and name not in by_problem and name != "score":
                value = interval_over_seeds(known).within(*known_measure(name).range)
                yield MeasuredValue(metric=name, value=value, decoding=decoding)


def tabulate_items(runs: Sequence[FinishedRun], name: str) -> Scores | None:
    """Returns the values of a measure that is measured on other items than the testbed's problems (such as the questions
    of a benchmark), as a table of seeds x items. Returns None for any other measure. A diverged run gets 0 on each item,
    or the arm's lowest value on the item if this value is negative. Raises `UserError` if two runs have different
    items."""
    measured = [run.elsewhere[name] for run in runs if name in run.elsewhere]
    if not measured:
        return None
    items = tuple(measured[0])
    if any({*values} != {*items} for values in measured):
        raise UserError(
            f"The runs have different items of {name}. Measure the runs again with the same task files and the same limit."
        )
    lowest = {item: min(0.0, *(values[item] for values in measured)) for item in items}
    kept = [run for run in runs if run.diverged or name in run.elsewhere]
    rows = [[run.elsewhere.get(name, lowest)[item] for item in items] for run in kept]
    diverged = tuple(run.seed for run in kept if run.diverged)
    return Scores(np.array(rows), tuple(run.seed for run in kept), items, diverged)


def interval_over_seeds(values: Sequence[float]) -> Interval:
    """Returns the mean of `values` with a t interval. `values`: one value for each seed. With a single seed, there is no
    interval."""
    centre, seeds = mean(values), len(values)
    if seeds < 2:
        return Interval(estimate=centre, seeds=seeds)
    half = float(t.ppf(0.975, seeds - 1) * np.std(values, ddof=1) / seeds**0.5)
    reason = no_spread(np.asarray(values), half, "seeds")
    return Interval(estimate=centre, low=centre - half, high=centre + half, df=seeds - 1, seeds=seeds, reason=reason)


def measures_of(headline: str, arms: Arms, declared: Mapping[str, Measure]) -> Iterator[Measure]:
    """Yields the measures for the columns of the report's table: the headline measure, then the other measures that the
    evaluators declare, then all other measures with a value in at least one run."""
    runs = [run for runs in arms.values() for run in runs if not run.diverged]
    values = [item for run in runs for item in run.measures("unit").items()]
    measured = [name for name, value in values if value is not None and name != "score"]
    estimators = dict.fromkeys(run.evaluation.unit.kl.estimator for run in runs)
    kl_note = "; ".join(["nats per response at temperature 1", *estimators])
    known = {**declared, **{each.name: each for each in map(on_validation, declared.values())}}
    for name in dict.fromkeys([headline, *declared, *measured]):
        yield known.get(name) or known_measure(name, note=kl_note if name == "kl" else "")
