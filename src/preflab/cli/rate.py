"""`preflab rate`: shows pairs of answers to raters on a local page or in an HTML file, and summarises the raters'
labels."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from preflab.cli.command import CliCommand
from preflab.cli.options import add_json_option, print_json
from preflab.errors import UserError
from preflab.paths import user_path
from preflab.text import counted

if TYPE_CHECKING:
    from preflab.rating.bounds import Bounded
    from preflab.rating.summary import RaterAgreement, RatingSummary


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "pairs",
        metavar="PAIRS.jsonl",
        nargs="?",
        type=user_path,
        help="pairs as JSON lines with id, prompt, first and second; not needed if DIR contains them already",
    )
    add("--output", metavar="DIR", type=user_path, required=True, help="the folder of the pairs and the labels")
    add("--port", metavar="N", type=int, default=8765, help="the port of the page; 0 for any (default: 8765)")
    add("--rater", metavar="NAME", default="", help="the rater's name that the page fills in at first")
    add("--question", metavar="TEXT", help="the question to the raters (default: Which answer is more helpful?)")
    add("--export", metavar="FILE", type=user_path, help="write the page into one HTML file for raters elsewhere")
    add("--import", metavar="FILE", dest="sent", type=user_path, help="add labels that a rater saved on such a page")
    add("--summary", action="store_true", help="print a summary of the labels so far, and serve no page")
    add_json_option(parser)


def _run(options: argparse.Namespace) -> None:
    from preflab.rating import (
        export_page,
        import_labels,
        keep_pairs,
        kept_pairs,
        name_prompts,
        read_labels,
        read_pairs,
        serve,
        summarise,
    )
    from preflab.rating.page import DEFAULT_QUESTION

    question = DEFAULT_QUESTION if options.question is None else options.question
    if sum((options.export is not None, options.sent is not None, options.summary)) > 1:
        raise UserError("--export, --import and --summary are different uses of the command. Give one of them.")
    pairs = kept_pairs(options.output) if options.pairs is None else read_pairs(options.pairs)
    keep_pairs(pairs, options.output)
    if options.export is not None:
        export_page(pairs, options.export, question=question)
        _say(
            f"{options.export} contains {counted(len(pairs), 'pair')}. Import the labels that a rater sends back (--import)."
        )
        return
    if options.sent is not None:
        _say(f"{counted(import_labels(options.sent, options.output), 'new event')} from {options.sent}.")
    elif not options.summary:
        serve(pairs, options.output, options.port, question=question, rater=options.rater, announce=_announce)
    summary = summarise(read_labels(options.output), prompts=name_prompts(pairs))
    print_json(summary.model_dump(mode="json")) if options.json else print(describe_summary(summary, len(pairs)))


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _announce(address: str) -> None:
    print(f"Open {address} in a browser on this computer. Ctrl-C ends the page.", file=sys.stderr, flush=True)


def describe_summary(summary: RatingSummary, pairs: int) -> str:
    """Returns the summary as text. `pairs`: the number of pairs to rate."""
    if not summary.labels:
        return f"There is no label yet for {counted(pairs, 'pair')}."
    given = ", ".join(f"{name} {count}" for name, count in summary.raters.items())
    lines = [
        f"{counted(summary.labels, 'label')} for {summary.pairs} of {counted(pairs, 'pair')} ({given}); "
        f"median {summary.seconds:.0f} s per label",
        f"first answer: win {_percent(summary.win)}, tie {_percent(summary.tie)}, loss {_percent(summary.loss)}",
        f"win rate (a tie counts half): {_percent(summary.win_rate)}",
        *map(_describe_agreement, filter(None, (summary.agreement, *summary.by_two, summary.with_other))),
    ]
    return "\n".join(lines)


def _describe_agreement(agreement: RaterAgreement) -> str:
    kappa = agreement.kappa
    value = kappa.reason if kappa.value is None else f"{kappa.value:.2f}{_interval(kappa, 1, 2)}"
    return (
        f"agreement of {', '.join(agreement.between)} on {counted(agreement.pairs, 'pair')}: "
        f"{_percent(agreement.raw)}; {agreement.method} {value}"
    )


def _percent(bounded: Bounded) -> str:
    return bounded.reason if bounded.value is None else f"{bounded.value:.1%}{_interval(bounded, 100, 1)}"


def _interval(bounded: Bounded, scale: int, digits: int) -> str:
    if bounded.low is None or bounded.high is None:
        return f" ({bounded.reason})"
    return f" [{scale * bounded.low:.{digits}f}, {scale * bounded.high:.{digits}f}]"


RATE_COMMAND = CliCommand("rate", "let people compare two answers on a local page", _add_options, _run)
