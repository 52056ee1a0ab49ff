"""Writes a study's results, or the theory's, as they are committed: small, and the same bytes for the same record.

    python scripts/publish_results.py runs/ablation [docs/results]                  a study that ran
    python scripts/publish_results.py docs/results/ablation.json.gz [docs/results]  the same record, by today's report
    python scripts/publish_results.py runs/theory [docs/results]                    what `preflab theory` wrote

A study becomes STUDY.md, STUDY.html.gz and STUDY.json.gz, the theory theory.html.gz and theory/*.json. Nothing is left out and
no number is rounded, unless a study has more than `LARGEST` bytes: then its training curves get fewer points, and these points
are rounded. `make docs` unpacks the pages (`docs_hook.py`). More than `LARGEST` bytes together are refused.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from preflab.analysis.record import CurvePoint, Number
from preflab.report import Results, read_results, write_report

LARGEST = 300_000
CURVE_POINTS = 6
"""The number of points of a thinned curve between its evaluations."""
DIGITS = 4
"""The number of significant digits of a thinned curve."""


def pack(content: bytes) -> bytes:
    """Gzipped without a time, so that the same content gives the same bytes."""
    return gzip.compress(content, compresslevel=9, mtime=0)


def read_record(path: Path) -> Results:
    """The record of a study: from its directory, from its `results.json`, or from that file gzipped."""
    if path.suffix != ".gz":
        return read_results(path / "results.json" if path.is_dir() else path)
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / path.stem
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        return read_results(plain)


def study_files(results: Results) -> dict[str, bytes]:
    """What is committed of a study, by name."""
    with tempfile.TemporaryDirectory() as scratch:
        write_report(results, Path(scratch))
        page, markdown, record = (
            (Path(scratch) / name).read_bytes() for name in ("report.html", "report.md", "results.json")
        )
    name, dense = results.study, json.dumps(json.loads(record), separators=(",", ":")).encode()
    return {f"{name}.md": markdown, f"{name}.html.gz": pack(page), f"{name}.json.gz": pack(dense)}


def with_thin_curves(results: Results) -> Results:
    """The same results with smaller training curves: all points with an evaluation on the validation split, and about
    `CURVE_POINTS` others of each run, with metrics of `DIGITS` digits. Nothing else changes."""
    arms = [
        arm.model_copy(
            update={"runs": tuple(run.model_copy(update={"curve": thin_curve(run.curve)}) for run in arm.runs)}
        )
        for arm in results.arms
    ]
    return results.model_copy(update={"arms": tuple(arms)})


def thin_curve(curve: Sequence[CurvePoint]) -> tuple[CurvePoint, ...]:
    stride = max(1, len(curve) // CURVE_POINTS)
    return tuple(
        point.model_copy(update={"metrics": {name: rounded(value) for name, value in point.metrics.items()}})
        for index, point in enumerate(curve)
        if index % stride == 0 or point.metrics.get("validation") is not None
    )


def rounded(value: Number) -> Number:
    return None if value is None else float(f"{value:.{DIGITS}g}")


def theory_files(directory: Path) -> dict[str, bytes]:
    """What is committed of the theory, by name."""
    findings = {f"theory/{path.name}": path.read_bytes() for path in sorted(directory.glob("*.json"))}
    return {"theory.html.gz": pack((directory / "theory.html").read_bytes()), **findings}


def publish(source: Path, folder: Path) -> None:
    """Writes the files; refuses with `SystemExit` where they are too large."""
    is_theory = (source / "theory.html").is_file()
    contents = theory_files(source) if is_theory else study_files(read_record(source))
    if not is_theory and sum(map(len, contents.values())) > LARGEST:
        contents = study_files(with_thin_curves(read_record(source)))
        print("The training curves were thinned.")
    size = sum(map(len, contents.values()))
    print(", ".join(f"{name} {len(content):,}" for name, content in contents.items()) + f" ({size:,} bytes)")
    if size > LARGEST:
        raise SystemExit(f"{source}: at most {LARGEST:,} bytes are committed of a study. Nothing was written.")
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        raise SystemExit(__doc__)
    publish(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "docs/results"))
