"""How much longer a study's work takes where a second run shares the machine.

    python benchmarks/sharing.py [--study quickstart] [--repeats 5] [--out result.json]

Sampling, training and forward passes of the study's model, on its own data and threads, are timed in one process alone and
then in two processes at once, as `preflab study` runs two arms. Each figure is the median of the repeats; a ratio is the
seconds of the slower of two over the seconds alone. One JSON object is printed. `preflab study --plan` multiplies by the
largest of the three (`study/forecast/estimate.py`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
from dataclasses import asdict
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from preflab.spec import Context
from preflab.study.forecast.speed import Examples, measure_speed
from preflab.study.load import load_study
from preflab.testbeds.base import require_testbed

WORK = ("sampling", "training", "forward")


def measure(study_name: str, repeats: int, barrier: Barrier) -> dict[str, float]:
    """Median seconds of each kind of work on one row; every repeat starts when all processes are ready."""
    study = load_study(study_name)
    with study.testbed.open(Context()) as opened:
        examples = Examples.of(require_testbed(opened), with_answers=True)
    speeds = []
    for _ in range(repeats + 1):
        barrier.wait()
        speeds.append(asdict(measure_speed(study.model, examples, study)))
    return {work: statistics.median(speed[work] for speed in speeds[1:]) for work in WORK}


def measure_together(study_name: str, repeats: int, processes: int) -> dict[str, float]:
    """The slower of the processes' medians, for each kind of work."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(processes) as pool:
        barrier = manager.Barrier(processes)
        rows = pool.starmap(measure, [(study_name, repeats, barrier)] * processes)
    return {work: max(row[work] for row in rows) for work in WORK}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="quickstart")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write the JSON there")
    options = parser.parse_args()
    alone = measure_together(options.study, options.repeats, 1)
    shared = measure_together(options.study, options.repeats, 2)
    result = {
        "benchmark": "sharing",
        "study": options.study,
        "repeats": options.repeats,
        "cores": multiprocessing.cpu_count(),
        "torch": torch.__version__,
        "machine": platform.platform(),
        "seconds_alone": alone,
        "seconds_shared": shared,
        "ratio": {work: round(shared[work] / alone[work], 2) for work in WORK},
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
