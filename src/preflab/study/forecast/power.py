"""Computes the smallest difference between arms that a study can detect with a given number of seeds.

`python -m preflab.study.forecast.power DIRECTORY` reads the standard deviations of the paired differences in a finished
study. The command prints the differences that 3, 5 and 10 seeds would detect. These numbers help to choose the margins
of a later study's claims before the later study runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from preflab.analysis.board import Board
from preflab.analysis.gather import gather
from preflab.analysis.record import Interval
from preflab.analysis.scores import Scores
from preflab.analysis.statistics import contrast, detectable_difference
from preflab.errors import UserError
from preflab.paths import user_path
from preflab.study.directory import read_study
from preflab.study.plan import planned_runs
from preflab.study.spec import Study

SEED_COUNTS = (3, 5, 10)
POWERS = (0.5, 0.8)


def contrasts(study: Study) -> list[dict[str, float]]:
    """Returns the contrasts of the study's comparisons, followed by the contrasts of the study's claims. A contrast is
    a dictionary from the names of arms to weights. The contrast of a claim is left out if it equals the contrast of a
    comparison."""
    weights = [{first: 1.0, second: -1.0} for first, second in study.comparisons]
    return [*weights, *(claim.contrast for claim in study.claims if claim.contrast not in weights)]


def spreads(scores: Mapping[str, Scores], weights: Iterable[Mapping[str, float]]) -> Iterator[tuple[str, Interval]]:
    """Yields each contrast (a weighted sum of arms' mean scores) as text, together with its interval. Leaves out a
    contrast if one of its arms has no scores. The fields `seed_sd`, `problem_sd` and `noise_sd` of the interval are the
    standard deviations of the contrast."""
    for row in weights:
        if all(arm in scores for arm in row):
            words = " ".join(f"{weight:+g} {arm}" for arm, weight in row.items())
            yield words, contrast(scores, row)


def power_table(rows: Sequence[tuple[str, Interval]], *, family: int, seeds: Sequence[int] = SEED_COUNTS) -> str:
    """Returns a Markdown table with a row for each contrast. A row contains the contrast's standard deviations. For
    each number of seeds, the row also contains the differences that 50% and 80% of studies would detect."""
    heads = ["contrast", "seeds", "seed SD", "problem SD", "noise SD", *(f"{count} seeds" for count in seeds)]
    lines = [heads, [":--", *("--:" for _ in heads[1:])]]
    for words, item in rows:
        spread = item.model_dump(include={"seed_sd", "problem_sd", "noise_sd"})
        if None in spread.values():
            continue  # with a single seed, the deviation between seeds is unknown
        find = partial(detectable_difference, **spread, problems=item.problems, family=family)
        cells = [" / ".join(f"{find(seeds=count, power=power):.3f}" for power in POWERS) for count in seeds]
        lines.append([words, str(item.seeds), *(f"{value:.3f}" for value in spread.values()), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def print_power(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line of this module. Raises `UserError` if the directory does not belong to a study."""
    parser = argparse.ArgumentParser(prog="python -m preflab.study.forecast.power", description=__doc__)
    parser.add_argument("directory", type=user_path, help="the directory of a finished study")
    parser.add_argument("--family", type=int, default=1, help="the number of claims that are tested together")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEED_COUNTS)
    options = parser.parse_args(arguments)
    study = read_study(options.directory).study
    arms = gather(planned_runs(study, options.directory))
    board = Board.of(arms, "chosen", study.score)
    scores = {name: board.table(runs, "chosen") for name, runs in arms.items()}
    print(
        f"Differences that 50% / 80% of studies detect, with {options.family} claims tested together and "
        f"{len(board.levels)} problems"
    )
    print(power_table(list(spreads(scores, contrasts(study))), family=options.family, seeds=options.seeds))


if __name__ == "__main__":
    try:
        print_power()
    except UserError as error:
        print(f"preflab: {error}", file=sys.stderr)
        sys.exit(2)
