"""Computes the verdict on the claim from the measures. Writes the tables, and the verdict as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

from preflab.theory.finding import FindingTable, TheoryVerdict
from preflab.theory.synthetic.measures import Measured, Numbers, SeedInterval, seed_interval
from preflab.theory.synthetic.sweep import COMPARED, SWEEP_BETAS, SWEEP_COVERAGES, SweepPoint, Variation

SYNTHETIC_CLAIM = "With partial coverage DPO moves mass to uncovered responses; PPO with the same data does not."
LEAK_MARGIN = 0.01  # a method leaks if it moves more mass than this to all uncovered responses together
RISE_MARGIN = (
    0.10  # a method leaks if pi of one uncovered response rises by more than this; the paper shows a rise of 0.12
)


class Reading(NamedTuple):
    """The verdict on the claim by one measure. A method leaks if its whole interval is above `margin`. The claim holds
    if the interval of DPO is above `margin`, and the intervals of both forms of PPO are below it.

    `intervals`: maps each method in `COMPARED` to the interval of the measure.
    """

    label: str
    margin: float
    intervals: dict[str, SeedInterval]

    @property
    def parts(self) -> dict[str, TheoryVerdict]:
        """Maps each method to a verdict on one part of the claim. The claim has one part for each method. It says that
        DPO leaks, and that the other methods do not leak."""
        return {name: _verdict_on_part(each, self.margin, leaks=name == "DPO") for name, each in self.intervals.items()}

    @property
    def verdict(self) -> TheoryVerdict:
        """The claim holds if all its parts hold. The claim is refuted if at least one part is refuted. Otherwise the
        claim is not decided."""
        verdicts = set(self.parts.values())
        return "refuted" if "refuted" in verdicts else "holds" if verdicts == {"holds"} else "not decided"


def _verdict_on_part(interval: SeedInterval, margin: float, *, leaks: bool) -> TheoryVerdict:
    """Returns the verdict on one part of the claim. This part says of one method whether it leaks: `leaks` is True if
    the part says that the method leaks, and False if the part says that it does not. `interval`: the interval of this
    method.

    The part is decided if the whole interval lies on one side of the margin.
    """
    if interval.low > margin:
        return "holds" if leaks else "refuted"
    if interval.high < margin:
        return "refuted" if leaks else "holds"
    return "not decided"


def read_claim(leaks: Mapping[str, Numbers], rises: Mapping[str, Numbers]) -> tuple[Reading, Reading]:
    """Returns the verdicts on the claim by two measures.

    The first measure is the change of the mass of all uncovered responses. The second measure is the largest rise of a
    single uncovered response. The paper's Figure 1 shows such a rise.

    Args: `leaks` and `rises` map the name of each method to the values of the measure for all seeds, [S].
    """
    return _both_readings(*({name: seed_interval(by[name]) for name in COMPARED} for by in (leaks, rises)))


def _both_readings(leaks: dict[str, SeedInterval], rises: dict[str, SeedInterval]) -> tuple[Reading, Reading]:
    by_mass = Reading("mass of all uncovered responses", LEAK_MARGIN, leaks)
    return by_mass, Reading("single response that rose most", RISE_MARGIN, rises)


def state_verdict(readings: Sequence[Reading], seeds: int, points: Sequence[SweepPoint]) -> str:
    """Returns the verdict as sentences with numbers."""
    sentences: list[str] = []
    words = {"holds": "leaks", "refuted": "does not leak", "not decided": "is not decided"}
    for reading in readings:
        methods = ", ".join(
            f"{name} {words[_verdict_on_part(interval, reading.margin, leaks=True)]} ({_interval_text(interval)})"
            for name, interval in reading.intervals.items()
        )
        sentences.append(f"By the {reading.label}, margin {reading.margin:g}, over {seeds} seeds: {methods}.")
    counts = ", ".join(f"{name} leaks at {len(_leaking(points, name))}" for name in COMPARED)
    places = _read_sweep(points)
    by_mass, by_response = ([place[index].verdict for place in places].count("holds") for index in range(2))
    sentences.append(
        f"The sweep has {len(places)} settings (coverage, beta, training length). By the mass, {counts}. DPO leaks and "
        f"PPO does not leak at {by_mass} settings by the mass, and at {by_response} settings by the single response."
    )
    return " ".join(sentences)


def _read_sweep(points: Sequence[SweepPoint]) -> list[tuple[Reading, Reading]]:
    """Returns the verdicts on the claim at every setting of the sweep. A setting is a coverage, a beta and a number of
    steps."""
    leaks: dict[tuple[float, float, int], dict[str, SeedInterval]] = {}
    rises: dict[tuple[float, float, int], dict[str, SeedInterval]] = {}
    for point in points:
        place = (point.coverage, point.beta, point.steps)
        leaks.setdefault(place, {})[point.method] = point.leak
        rises.setdefault(place, {})[point.method] = point.rise
    return [_both_readings(leaks[place], rises[place]) for place in leaks]


def _leaking(points: Sequence[SweepPoint], method: str) -> list[SweepPoint]:
    """Returns the points of the sweep at which a method leaks: the whole interval of the change of uncovered mass is
    above `LEAK_MARGIN`."""
    return [point for point in points if point.method == method and point.leak.low > LEAK_MARGIN]


def _interval_text(interval: SeedInterval) -> str:
    """Returns an interval as text, such as `+0.131 [+0.117, +0.145]`."""
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def tabulate_methods(measured: Measured) -> FindingTable:
    """Makes a table with one row for pi_ref and one row for every method."""
    mass, leaks, rises, best = measured
    rows: list[tuple[str, ...]] = []
    for name in mass:
        changes = (_interval_text(seed_interval(by[name])) if name in by else "" for by in (leaks, rises))
        rows.append((name, f"{mass[name].mean():.3f}", *changes, f"{best[name].mean():.3f}"))
    return FindingTable(
        title="Every method, from the same pi_ref and the same pairs",
        columns=("policy", "uncovered mass", "change against pi_ref", "largest single rise", "best response"),
        rows=tuple(rows),
        note="Means over prompts and seeds, with 95% t intervals over seeds; changes are paired by seed.",
    )


def tabulate_differences(measured: Measured) -> FindingTable:
    """Makes a table of the differences between DPO and both forms of PPO, paired by seed."""
    rows: list[tuple[str, ...]] = []
    for other in COMPARED[1:]:
        gaps = (seed_interval(by["DPO"] - by[other]) for by in (measured.leaks, measured.rises))
        rows.append((f"DPO − {other}", *map(_interval_text, gaps)))
    return FindingTable(
        title="DPO against PPO, paired by seed",
        columns=("difference", "uncovered mass", "largest single rise"),
        rows=tuple(rows),
        note="Above zero: DPO leaks more.",
    )


def tabulate_readings(readings: Sequence[Reading]) -> FindingTable:
    """Makes a table of the verdicts on each part of the claim, with one row for each measure."""
    names = tuple(f"{'leaks' if name == 'DPO' else 'does not leak'}: {name}" for name in COMPARED)
    rows = [(reading.label, reading.margin, *reading.parts.values(), reading.verdict) for reading in readings]
    return FindingTable(
        title="The claim part by part",
        columns=("measure", "margin", *names, "claim"),
        rows=tuple(rows),
        note="A part is decided if the 95% interval is on one side of the margin. The claim holds if all parts hold, "
        "and is refuted if one part is refuted. The first measure decides the claim.",
    )


def tabulate_sweep(points: Sequence[SweepPoint]) -> FindingTable:
    """Makes a table of the change of uncovered mass at the end of training, for each coverage, beta and method. A cell
    also lists the training lengths at which the method leaked."""
    last = max(point.steps for point in points)
    at = {(point.coverage, point.beta, point.method): point for point in points if point.steps == last}
    rows: list[tuple[str, ...]] = []
    for coverage, beta in product(SWEEP_COVERAGES, SWEEP_BETAS):
        here = [point for point in points if (point.coverage, point.beta) == (coverage, beta)]
        cells = (f"{_interval_text(at[coverage, beta, name].leak)}{_when(_leaking(here, name))}" for name in COMPARED)
        rows.append((f"{8 * coverage:.0f} of 8, β = {beta:g}", *cells))
    return FindingTable(
        title=f"Change of the uncovered mass after {last} steps",
        columns=("covered", *COMPARED),
        rows=tuple(rows),
        note=f"The table names the training lengths at which the method leaked. A method leaked if its interval was above "
        f"{LEAK_MARGIN:g}.",
    )


def _when(points: Sequence[SweepPoint]) -> str:
    return f"; leaked at {', '.join(str(point.steps) for point in points)}" if points else ""


def tabulate_variations(variations: Sequence[Variation]) -> FindingTable:
    """Makes a table of the change of uncovered mass under variations. Each variation changes a choice that the paper
    does not specify."""
    rows: list[tuple[str, ...]] = []
    for variation in variations:
        changes = (f"{_interval_text(point.leak)}; one {point.rise.mean:+.2f}" for point in variation.points)
        rows.append((variation.label, f"{variation.reference_mass:.3f}", *changes))
    return FindingTable(
        title="Change of the uncovered mass under other networks and another pi_ref",
        columns=("variation", "uncovered mass of pi_ref", *COMPARED),
        rows=tuple(rows),
        note="Change of the uncovered mass, then the mean of the largest rise of one uncovered response. If the policy is "
        "a table, prompts share no parameters, so learning at one prompt cannot raise a response at another prompt.",
    )
