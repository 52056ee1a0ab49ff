"""Prints how often the outcomes of a study repeat under other seeds, as a page.

    preflab study quickstart --first-seed 100 --output runs/quickstart-100
    python scripts/repeats.py docs/results/quickstart.json.gz runs/quickstart-100 runs/quickstart-200 > page.md

The first record is the study that was published. The others are the same study with other seeds. `--first-seed` makes them.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from publish_results import read_record

from preflab.report import Results, metrics, numbers, verdicts

HEAD = """\
# {study}, repeated with other seeds

`python scripts/repeats.py …` writes this page. Every repetition is the whole study again with {seeds} other seeds: the same
settings, none of them chosen again. The first column is the published study. The intervals of all comparisons of a run hold at
once with 95%. The winner is compared with fewer arms at once, so that it may be decided where one of its comparisons is not.
"""


def check_same(runs: Sequence[Results]) -> None:
    """Raises `SystemExit` unless the records are of one study with the same arms and no common seed."""
    first, *others = runs
    arms = {arm.name for arm in first.arms}
    if any(run.study != first.study or {arm.name for arm in run.arms} != arms for run in others):
        raise SystemExit("These are not repetitions of one study: they differ in their names or in their arms.")
    shared = [seed for seed, runs_with in Counter(seed for run in runs for seed in run.seeds).items() if runs_with > 1]
    if shared:
        raise SystemExit(f"Repetitions must not share seeds, but these are in several: {', '.join(map(str, shared))}.")


def answer_rows(runs: Sequence[Results]) -> list[list[str]]:
    """Returns a row for the winner at each decoding."""
    rows: list[list[str]] = []
    for place, (words, _) in enumerate(verdicts.list_verdicts(runs[0])):
        winners = [verdicts.list_verdicts(run)[place][1].winner or "not decided" for run in runs]
        where = f", {words[0].lower()}{words[1:]}" if words else ""
        rows.append([f"**the winner{where}**", *winners, repeat_words(winners)])
    return rows


def comparison_rows(runs: Sequence[Results]) -> list[list[str]]:
    """Returns a row for each comparison that was declared, at each decoding: each run's outcome, difference and interval."""
    rows: list[list[str]] = []
    for place, pair in enumerate(runs[0].comparisons):
        if not pair.named:
            continue
        again = [run.comparisons[place] for run in runs]
        metric = metrics.find_metric(runs[0], pair.metric)
        cells = [
            f"{verdicts.state_outcome(each)}<br>{numbers.format_difference(metric, each.estimate)} "
            f"{numbers.format_bounds(metric, each, sign=True)}"
            for each in again
        ]
        name = f"{pair.first} − {pair.second}, {verdicts.name_decoding(runs[0], pair.decoding)}"
        rows.append([name, *cells, repeat_words([each.verdict for each in again])])
    return rows


def repeat_words(outcomes: Sequence[str]) -> str:
    """Says in how many of the repetitions the outcome of the published study, the first, came again."""
    return f"{sum(each == outcomes[0] for each in outcomes[1:])} of {len(outcomes) - 1}"


def write_page(runs: Sequence[Results]) -> str:
    check_same(runs)
    heads = ["", *(f"seeds {min(run.seeds)} to {max(run.seeds)}" for run in runs), "the same outcome again"]
    rows = [*answer_rows(runs), *comparison_rows(runs)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))
    return HEAD.format(study=runs[0].study, seeds=len(runs[1].seeds)) + "\n" + table


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    print(write_page([read_record(Path(path)) for path in sys.argv[1:]]))
