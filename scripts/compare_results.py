"""Compares the numbers and decisions of two `results.json`: `python scripts/compare_results.py BEFORE AFTER`.

Every number, decision and text of the old file must be in the new file, at the same place and with the same value. Fields
that only the new file has are ignored. Times, versions and the command are left out. The exit code is 1 if something
differs.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LEFT_OUT = {"timing", "versions", "command", "schema_version"}
DECISIONS = ("verdict", "outcome", "winner", "tied", "holds_under_other_budget", "headline")
"""The fields whose texts are decisions. The wording of other texts may change."""


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every number and text of plain data, with its place: `arms[0].runs[2].seed`."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, f"{place}[{index}]")
    else:
        yield place, value


def same(before: Any, after: Any, tolerance: float) -> bool:
    if isinstance(before, float | int) and isinstance(after, float | int) and not isinstance(before, bool):
        return math.isclose(before, after, rel_tol=tolerance, abs_tol=tolerance)
    return before == after


def is_decision(place: str) -> bool:
    return place.rpartition(".")[2].partition("[")[0] in DECISIONS


def compare(
    before: dict[str, Any], after: dict[str, Any], *, tolerance: float = 0.0, words: bool = True
) -> tuple[list[str], int]:
    """Returns one line for each difference, and how many numbers and texts are the same. A number may differ by the
    tolerance. If `words` is False, the only compared texts are decisions."""
    places = dict(leaves(without(after, *LEFT_OUT)))
    differences: list[str] = []
    equal = 0
    for place, value in leaves(without(before, *LEFT_OUT)):
        if not words and isinstance(value, str) and not is_decision(place):
            continue
        if place not in places:
            differences += [f"{place}: {value!r} is missing"] if value is not None else []
        elif same(value, places[place], tolerance):
            equal += 1
        else:
            differences.append(f"{place}: {value!r} became {places[place]!r}")
    return differences, equal


def main(before: str, after: str) -> int:
    differences, equal = compare(*(json.loads(Path(path).read_text(encoding="utf-8")) for path in (before, after)))
    print("\n".join(differences[:50]))
    print(f"{equal} numbers and texts are the same, {len(differences)} differ.")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
