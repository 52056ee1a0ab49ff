"""`preflab winrate --judge human`: people compare the answers on a local page. Raters on other computers use an HTML
file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from preflab.api import ask_people
from preflab.cli.options import testbed_from_options
from preflab.contest.record import ContestResult
from preflab.errors import UserError
from preflab.rating import export_page, import_labels, kept_pairs, serve
from preflab.rating.page import DEFAULT_QUESTION
from preflab.rating.server import PORT
from preflab.text import counted

Print = Callable[[ContestResult, argparse.Namespace], None]


def run_by_people(options: argparse.Namespace, judge: Any, say: Callable[[str], None], show: Print) -> None:
    """Runs `preflab winrate --judge human`. `show`: a function that prints the result. `show` is called only if there
    are enough labels for a result."""
    check_people_options(options)
    result = ask_people(
        options.contestants,
        testbed=testbed_from_options(options),
        output=options.output,
        page=lambda folder: gather_labels(options, folder, say),
        judge=judge,
        prompts=options.prompts,
        seed=options.seed,
        with_judge=options.with_judge,
        decoding={"max_new_tokens": options.max_new_tokens, "temperature": options.temperature},
        device=options.device,
        say=say,
    )
    if result is not None:
        show(result, options)


def check_people_options(options: argparse.Namespace) -> None:
    """Raises `UserError` if the options contradict each other, or if an option does not apply to human judges."""
    if options.output is None:
        raise UserError("--judge human needs --output DIR, the directory that keeps the pairs and the labels.")
    if options.raters is not None and options.raters < 1:
        raise UserError(f"--raters must be at least 1, not {options.raters}.")
    if options.export is not None and options.sent is not None:
        raise UserError("--export and --import are different uses of the command. Give one of them.")
    for name, value in (
        ("--agreement", options.agreement),
        ("--labels", options.labels),
        ("--template", options.template),
    ):
        if value:
            raise UserError(
                f"{name} applies only if a model judges, but people judge with --judge human. Remove this option."
            )


def gather_labels(options: argparse.Namespace, folder: Path, say: Callable[[str], None]) -> None:
    """With `--export`, writes the page into a file for raters on other computers. With `--import`, adds the labels that
    such a rater saved. Otherwise serves the page until every pair has enough labels."""
    question = options.question or DEFAULT_QUESTION
    if options.export is not None:
        pairs = kept_pairs(folder)
        export_page(pairs, options.export, question=question)
        say(
            f"{options.export} contains {counted(len(pairs), 'pair')}. Import the labels that a rater sends back (--import)."
        )
        return
    if options.sent is not None:
        say(f"{counted(import_labels(options.sent, folder), 'new event')} from {options.sent}.")
        return
    serve(
        kept_pairs(folder),
        folder,
        PORT if options.port is None else options.port,
        question=question,
        rater=options.rater or "",
        enough=options.raters or 1,
        announce=lambda address: say(f"Open {address} in a browser on this computer. Ctrl-C ends the page."),
    )
