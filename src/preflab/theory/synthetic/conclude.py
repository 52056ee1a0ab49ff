"""From the numbers to the verdict on the claim, the tables and the sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from preflab.theory.finding import Outcome, Table
from preflab.theory.synthetic.measures import Floats, Interval, interval
from preflab.theory.synthetic.sweep import BETAS, COMPARED, COVERAGES, Point, Variation

CLAIM = "With partial coverage DPO moves mass to uncovered responses; PPO with the same data does not."
LEAK_MARGIN = 0.01
"""The total mass that a method must move to uncovered responses before it counts."""
RISE_MARGIN = 0.10
"""The rise of a single uncovered response that counts; the paper shows one of 0.12."""


class Reading(NamedTuple):
    """The claim read by one measure: does DPO exceed the margin, does PPO stay below it, and so does the claim hold?"""

    label: str
    margin: float
    found: dict[str, Interval]

    @property
    def parts(self) -> dict[str, Outcome]:
        return {name: part(found, self.margin, leaks=name == "DPO") for name, found in self.found.items()}

    @property
    def outcome(self) -> Outcome:
        """All parts must hold; one refuted part refutes."""
        outcomes = set(self.parts.values())
        return "refuted" if "refuted" in outcomes else "holds" if outcomes == {"holds"} else "not decided"


def part(found: Interval, margin: float, *, leaks: bool) -> Outcome:
    """Whether a method leaks, or does not, as the claim says: decided where its interval lies on one side of the margin."""
    if found.low > margin:
        return "holds" if leaks else "refuted"
    if found.high < margin:
        return "refuted" if leaks else "holds"
    return "not decided"


def readings(leaks: Mapping[str, Floats], rises: Mapping[str, Floats]) -> tuple[Reading, Reading]:
    """By the mass of all uncovered responses, and by the single one that rose most (as in Figure 1)."""
    return _readings(
        {name: interval(leaks[name]) for name in COMPARED}, {name: interval(rises[name]) for name in COMPARED}
    )


def _readings(leaks: dict[str, Interval], rises: dict[str, Interval]) -> tuple[Reading, Reading]:
    return (
        Reading("mass of all uncovered responses", LEAK_MARGIN, leaks),
        Reading("single response that rose most", RISE_MARGIN, rises),
    )


def sentence(of: Sequence[Reading], seeds: int, points: Sequence[Point]) -> str:
    """The verdict in words, with its numbers."""
    words: list[str] = []
    for reading in of:
        each = [f"{name} {said(found, reading.margin)} ({shown(found)})" for name, found in reading.found.items()]
        words.append(f"By the {reading.label}, margin {reading.margin:g}, over {seeds} seeds: {', '.join(each)}.")
    counts = ", ".join(f"{name} leaks at {len(leaking(points, name))}" for name in COMPARED)
    held = [[each[index].outcome for each in by_place(points)].count("holds") for index in range(len(of))]
    words.append(
        f"Of the sweep's {len(by_place(points))} places (coverage, beta, training length) {counts} by the mass; DPO leaks "
        f"and PPO does not at {held[0]} by the mass, at {held[1]} by the single response."
    )
    return " ".join(words)


def by_place(points: Sequence[Point]) -> list[tuple[Reading, Reading]]:
    """The claim read at every place of the sweep."""
    places = dict.fromkeys((point.coverage, point.beta, point.steps) for point in points)
    at = {(point.coverage, point.beta, point.steps, point.method): point for point in points}
    return [
        _readings(
            {name: at[*place, name].leak for name in COMPARED}, {name: at[*place, name].rise for name in COMPARED}
        )
        for place in places
    ]


def said(found: Interval, margin: float) -> str:
    """leaks, does not leak, or neither is decided."""
    return {"holds": "leaks", "refuted": "does not leak"}.get(part(found, margin, leaks=True), "is not decided")


def leaking(points: Sequence[Point], method: str) -> list[Point]:
    """Where the whole interval of a method's change of uncovered mass lies above the margin."""
    return [point for point in points if point.method == method and point.leak.low > LEAK_MARGIN]


def shown(found: Interval) -> str:
    """+0.131 [+0.117, +0.145]."""
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def method_table(
    mass: Mapping[str, Floats], leaks: Mapping[str, Floats], rises: Mapping[str, Floats], best: Mapping[str, Floats]
) -> Table:
    """A row for pi_ref and every method."""
    rows = [
        (
            name,
            f"{mass[name].mean():.3f}",
            shown(interval(leaks[name])) if name in leaks else "",
            shown(interval(rises[name])) if name in rises else "",
            f"{best[name].mean():.3f}",
        )
        for name in mass
    ]
    return Table(
        title="Every method, from the same pi_ref and the same pairs",
        columns=("policy", "uncovered mass", "change against pi_ref", "largest single rise", "best response"),
        rows=tuple(rows),
        note="Means over prompts and seeds, with 95% t intervals over seeds; changes are paired by seed.",
    )


def difference_table(leaks: Mapping[str, Floats], rises: Mapping[str, Floats]) -> Table:
    """DPO less PPO, seed by seed."""
    rows = [
        (f"DPO − {other}", shown(interval(leaks["DPO"] - leaks[other])), shown(interval(rises["DPO"] - rises[other])))
        for other in COMPARED[1:]
    ]
    return Table(
        title="DPO against PPO, paired by seed",
        columns=("difference", "uncovered mass", "largest single rise"),
        rows=tuple(rows),
        note="Above zero: DPO leaks more.",
    )


def reading_table(of: Sequence[Reading]) -> Table:
    """The claim part by part."""
    names = tuple(f"{'moves' if name == 'DPO' else 'does not'}: {name}" for name in COMPARED)
    rows = [(reading.label, reading.margin, *reading.parts.values(), reading.outcome) for reading in of]
    return Table(
        title="The claim part by part",
        columns=("read by", "margin", *names, "claim"),
        rows=tuple(rows),
        note="A part is decided where the 95% interval lies on one side of the margin; all must hold, one can refute. The "
        "first reading decides the claim.",
    )


def sweep_table(points: Sequence[Point]) -> Table:
    """The change of uncovered mass at the end of training for each coverage and beta, and when a method leaked."""
    last = max(point.steps for point in points)
    at = {(point.coverage, point.beta, point.method): point for point in points if point.steps == last}
    rows: list[tuple[str, ...]] = []
    for coverage in COVERAGES:
        for beta in BETAS:
            here = [point for point in points if (point.coverage, point.beta) == (coverage, beta)]
            cells = [f"{shown(at[coverage, beta, name].leak)}{_when(leaking(here, name))}" for name in COMPARED]
            rows.append((f"{8 * coverage:.0f} of 8, β = {beta:g}", *cells))
    return Table(
        title=f"Change of the uncovered mass after {last} steps",
        columns=("covered", *COMPARED),
        rows=tuple(rows),
        note=f"With the training lengths at which the method leaked: its interval lay above {LEAK_MARGIN:g}.",
    )


def _when(points: Sequence[Point]) -> str:
    return f"; leaked at {', '.join(str(point.steps) for point in points)}" if points else ""


def variation_table(variations: Sequence[Variation]) -> Table:
    """What the paper leaves open, made otherwise."""
    rows = [
        (
            variation.label,
            f"{variation.reference_mass:.3f}",
            *(f"{shown(point.leak)}; one {point.rise.mean:+.2f}" for point in variation.points),
        )
        for variation in variations
    ]
    return Table(
        title="The same under other networks and another pi_ref",
        columns=("variation", "uncovered mass of pi_ref", *COMPARED),
        rows=tuple(rows),
        note="Change of the uncovered mass, then the mean largest rise of one uncovered response. A table shares no "
        "parameter between prompts: nothing that is learned at one can raise a response at another.",
    )
