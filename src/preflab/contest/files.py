"""Writes the files of a contest. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from preflab.contest.analysis import JudgedPairs
from preflab.contest.hold import HeldContest
from preflab.contest.words import contest_words
from preflab.errors import UserError
from preflab.evaluation.preference.template import write_query
from preflab.train.directory import STUDY_MANIFEST, read_manifest
from preflab.train.files import write_json

RESULT_FILE = "winrate.json"
PAIRS_FILE = "pairs.jsonl"
VERDICTS_FILE = "verdicts.jsonl"
PAGE_FILE = "winrate.md"


def check_output(directory: Path) -> None:
    """Raises `UserError` if the directory cannot take the files: it is a file, a run or a study."""
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file. Name a directory with --output.")
    if (directory / STUDY_MANIFEST).exists() or (directory.is_dir() and read_manifest(directory) is not None):
        raise UserError(f"{directory} is a run or a study. Name another directory with --output.")


def write_contest(held: HeldContest, directory: Path) -> None:
    """Writes the result, the page, the verdicts and the pairs. `pairs.jsonl` is in random order, so that people who label
    its first lines label prompts drawn at random."""
    check_output(directory)
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / RESULT_FILE, held.result.model_dump(mode="json"))
    (directory / PAGE_FILE).write_text(contest_words(held.result), encoding="utf-8")
    _write_lines(directory / PAIRS_FILE, pair_rows(held.judged))
    _write_lines(directory / VERDICTS_FILE, verdict_rows(held.judged))


def pair_rows(judged: Iterable[JudgedPairs]) -> Iterator[dict[str, Any]]:
    """Yields each judged pair once, with its texts: all pairs of the first prompt, then of the second, and so on."""
    pairs, seen = list(judged), set[str]()
    for column in range(len(pairs[0].questions[0])):
        for question in (row[column] for pair in pairs for row in pair.questions):
            if question.pair not in seen:
                seen.add(question.pair)
                texts = {"first": question.first.text, "second": question.second.text}
                yield {"id": question.pair, "prompt": write_query(question.prompt.turns), **texts}


def verdict_rows(judged: Iterable[JudgedPairs]) -> Iterator[dict[str, Any]]:
    """Yields each verdict, with the judge's choice and words in both orders."""
    for pair in judged:
        for seed, (questions, verdicts) in enumerate(zip(pair.questions, pair.verdicts, strict=True)):
            for question, verdict in zip(questions, verdicts, strict=True):
                yield {
                    "pair": question.pair,
                    "prompt": question.prompt.id,
                    "first": pair.first,
                    "second": pair.second,
                    "seed": seed,
                    "outcome": verdict.outcome,
                    "orders": list(verdict.orders),
                    "replies": list(verdict.replies),
                }


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
