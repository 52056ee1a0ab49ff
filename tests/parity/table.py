"""Prints the table and the notes of docs/parity.md from the recordings, or writes them into the page:

python -m tests.parity.table [--write]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.parity.agreement import COMPARISONS, Case, Comparison, difference, recorded

PAGE = Path(__file__).resolve().parents[2] / "docs" / "parity.md"
GENERATED = re.compile(r"(?<=<!-- generated -->\n).*(?=<!-- end -->)", re.DOTALL)


def figure(values: Sequence[float]) -> str:
    """The largest of them, to two digits; a dash where nothing of the kind was compared."""
    return f"{max(values):.1e}".replace("0.0e+00", "0") if values else "–"


def row(comparison: Comparison, cases: Mapping[str, Case]) -> str:
    """Method, TRL's version and code, preflab's functions, and the largest differences of values and of gradients."""
    values, slopes = list[float](), list[float]()
    for name in comparison.cases:
        for output, distance in difference(comparison, cases[name]).items():
            (slopes if "slope" in output else values).append(distance)
    versions = {cases[name]["version"] for name in comparison.cases}
    paths = dict.fromkeys(".".join(cases[name]["path"].split(".")[-2:]) for name in comparison.cases)
    ours = ", ".join(f"`{name.strip()}`" for name in comparison.ours.split(","))
    theirs = ", ".join(f"`{path}`" for path in paths)
    cells = (comparison.method, ", ".join(sorted(versions)), theirs, ours, figure(values), figure(slopes))
    return f"| {' | '.join(cells)} |"


def lines() -> Iterator[str]:
    cases = recorded()
    yield "| method | TRL | TRL's code | preflab | values | gradients |"
    yield "|---|---|---|---|---|---|"
    yield from (row(comparison, cases) for comparison in COMPARISONS)
    yield ""
    yield "## Where the definitions differ"
    yield ""
    for comparison in COMPARISONS:
        if comparison.differs:
            yield f"- **{comparison.method}**: {comparison.differs}"


def generated() -> str:
    return "\n" + "\n".join(lines()) + "\n\n"


def main() -> None:
    if "--write" in sys.argv[1:]:
        PAGE.write_text(GENERATED.sub(lambda _: generated(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(generated())


if __name__ == "__main__":
    main()
