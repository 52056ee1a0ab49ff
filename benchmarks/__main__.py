"""Measures rows of the table in `benchmarks/rows.py` and writes one JSON.

python -m benchmarks [ROW...] [--threads 1 2] [--repeats 9]    all rows where none is named
python -m benchmarks --list
python -m benchmarks.check                                     whether the rows reach their goals
python -m benchmarks.page                                      writes docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.check import verdict
from benchmarks.figures import RESULTS, figure_of
from benchmarks.machine import describe_machine, has_bf16
from benchmarks.measure import measure_row
from benchmarks.rows import ROWS, Row, rows_named


def reason_to_skip(row: Row) -> str:
    if row.unbuilt:
        return row.unbuilt
    return "this processor has no bf16 arithmetic" if row.precision == "bf16" and not has_bf16() else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("--out", type=Path, help="default: a new file in benchmarks/results")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{row.name:20} {row.title}" for row in ROWS))
        return
    started = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    run: dict[str, Any] = {"machine": describe_machine(), "started": started, "results": [], "skipped": {}}
    out = options.out or RESULTS / f"bench-{started}.json"
    for row in rows_named(options.rows):
        if reason := reason_to_skip(row):
            print(f"skipped: {row.name}: {reason}", file=sys.stderr)
            run["skipped"][row.name] = reason
            continue
        for threads in options.threads:
            with TemporaryDirectory() as place:
                result = measure_row(row, threads, options.repeats, Path(place))
            print(verdict(figure_of(row, result, run["machine"])), flush=True)
            run["results"].append(result)
            out.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")  # each row as soon as it is there


if __name__ == "__main__":
    main()
