"""Prints docs/results/index.md: every claim of the studies, with its outcome, figures, study and limits.

    python scripts/claims_index.py > docs/results/index.md

The outcomes and figures come from the committed records under docs/results, and the claims that have not been tested from the
presets. No outcome is written here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from publish_results import read_record
from scipy import stats

from preflab.analysis.record import ClaimOutcome, DecidedClaim, Interval, Measure, joint_outcome
from preflab.report import Results, claims, numbers
from preflab.study.load import load_study, offers_size, preset_names
from preflab.study.spec import Study
from preflab.text import counted

RESULTS = Path(__file__).parent.parent / "docs" / "results"
SIZES = ("full", "paper")
"""The sizes that are studies, where a preset has a smoke size."""
COLUMNS = ("claim", "outcome", "figure, 95% interval", "detectable, 80%", "control", "study", "limits")
HEAD = """\
# The claims and their outcomes

`python scripts/claims_index.py > docs/results/index.md` writes this page from the committed records. The
[rules](../claims.md) were fixed before the studies ran.

*Figure* is the contrast that tests a claim. The intervals of all claims of a study hold at once with 95%. *Detectable* is the
true contrast that 80% of such studies find, computed from the interval and its standard error; older records do not have one.
*Control* is a contrast that is known to help: an outcome that says "no gain" needs a control above the margin, and otherwise
the claim is not testable here. Where there are two lines, the first is at greedy decoding (or at the temperature that
validation chose), and the second at temperature 1.
"""


def published() -> dict[str, Results]:
    """Returns the committed records of studies, by the name of the study."""
    return {path.name.removesuffix(".json.gz"): read_record(path) for path in sorted(RESULTS.glob("*.json.gz"))}


def claim_rows(name: str, results: Results) -> Iterator[list[str]]:
    """Yields a row for each claim of a study."""
    for claim, decided in claims.group_claims(results):
        metric = claims.metric_of_claim(results, claim)
        outcomes: list[ClaimOutcome] = [row.outcome for row in decided]
        outcome = joint_outcome(outcomes) or "<br>".join(outcomes)
        yield [
            f"**{claims.name_claim(claim)}** {claim.text}",
            f"**{outcome}**",
            "<br>".join(write_interval(metric, row.value) for row in decided),
            "<br>".join(write_detectable(metric, row.value) for row in decided),
            "<br>".join(
                numbers.DASH if row.control is None else write_interval(metric, row.control) for row in decided
            ),
            f"[{name}]({name}.md)",
            describe_limits(results, decided),
        ]


def write_interval(metric: Measure, value: Interval) -> str:
    """Writes an estimate with its interval: '+2.3 points [+0.1, +4.6]'."""
    return (
        f"{numbers.format_difference(metric, value.estimate)} {numbers.format_bounds(metric, value, sign=True)}".strip()
    )


def write_detectable(metric: Measure, value: Interval) -> str:
    """Writes the true contrast that 80% of studies like this one detect: the half width of the interval plus t(.8; df) standard
    errors (see `detectable_difference`). Writes a dash if the record has no standard error."""
    if value.low is None or value.high is None or value.se is None or value.df is None:
        return numbers.DASH
    difference = (value.high - value.low) / 2 + float(stats.t.ppf(0.8, value.df)) * value.se
    return numbers.format_plain(metric, difference) + (" points" if metric.share else "")


def describe_limits(results: Results, decided: Sequence[DecidedClaim]) -> str:
    """Says on what an outcome rests: the model, the task, the seeds, and reasons for doubt."""
    seeds = max(row.value.seeds for row in decided)
    reasons = dict.fromkeys(row.reason for row in decided if row.reason)
    words = [f"{results.model.name}, {results.testbed.name}, {counted(seeds, 'seed')}", *reasons]
    return "; ".join([*words, *(["preliminary"] if 0 < seeds < 5 else []), *([results.looks] if results.looks else [])])


def theory_rows() -> Iterator[list[str]]:
    """Yields a row for each statement of the theory."""
    for path in sorted((RESULTS / "theory").glob("*.json")):
        finding = json.loads(path.read_text(encoding="utf-8"))
        cells = [f"**{finding['title']}** {finding['claim']}", f"**{finding['verdict']}**", finding["sentence"]]
        yield [*cells, numbers.DASH, numbers.DASH, "[theory](theory.html.gz)", f"`{finding['command']}`"]


def untested(names: Sequence[str]) -> Iterator[str]:
    """Yields a line for each preset with claims that has no committed record. `names`: the studies with a record."""
    for preset in preset_names():
        size = next((size for size in SIZES if offers_size(preset, size)), None)
        study = load_study(preset, size)
        if study.claims and study.name not in names:
            yield f"| {', '.join(claim_names(study))} | `preflab study {preset}{f' --size {size}' if size else ''}` |"


def claim_names(study: Study) -> list[str]:
    return list(dict.fromkeys(claim.id for claim in study.claims))


def index() -> str:
    """Returns the page."""
    records = published()
    rows = [*theory_rows(), *(row for name, results in records.items() for row in claim_rows(name, results))]
    lines = [HEAD, f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    lines += ["", "## Not tested yet", "", "| claims | command |", "|---|---|", *untested(list(records))]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(index())
