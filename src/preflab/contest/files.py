"""Writes the files of a contest. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from preflab.contest.analysis import JudgedPairs
from preflab.contest.compare import ComparedContest
from preflab.contest.markdown import describe_contest
from preflab.contest.record import ContestResult
from preflab.data.lines import read_records, read_text_field
from preflab.errors import UserError
from preflab.evaluation.preference.base import PreferenceQuestion
from preflab.evaluation.preference.labelled import check_outcome
from preflab.rating import RatedPair, keep_pairs, read_labels
from preflab.rating.pairs import write_pair
from preflab.train.directory import STUDY_MANIFEST, read_manifest
from preflab.train.files import read_json, write_json

RESULT_FILE = "winrate.json"
PAIRS_FILE = "pairs.jsonl"
VERDICTS_FILE = "verdicts.jsonl"
PAGE_FILE = "winrate.md"
SAVED_FILE = "human.json"
HUMAN_RESULT_FILE = "winrate-human.json"
HUMAN_PAGE_FILE = "winrate-human.md"


def check_output(directory: Path) -> None:
    """Raises `UserError` if `directory` is a file, or the directory of a run or a study. A contest does not write its
    files to such a path."""
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file. Name a directory with --output.")
    if (directory / STUDY_MANIFEST).exists() or (directory.is_dir() and read_manifest(directory) is not None):
        raise UserError(f"{directory} is a run or a study. Name another directory with --output.")


def write_contest(comparison: ComparedContest, directory: Path) -> None:
    """Writes the files of a contest: the result, the page, the verdicts and the pairs of answers. The prompts are in
    random order in `pairs.jsonl`. The prompts of the first lines are therefore a random sample of all prompts, and it
    is enough if people label these lines."""
    check_output(directory)
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / RESULT_FILE, comparison.result.model_dump(mode="json"))
    (directory / PAGE_FILE).write_text(describe_contest(comparison.result), encoding="utf-8")
    _write_pairs([*pairs_to_rate(pair.questions for pair in comparison.judged)], directory)
    _write_lines(directory / VERDICTS_FILE, verdict_rows(comparison.judged))


def pairs_to_rate(rows: Iterable[Sequence[Sequence[PreferenceQuestion]]]) -> Iterator[RatedPair]:
    """Yields each different pair of answers once, ordered by prompt. `rows`: the questions for each pair of contestants,
    with one row for each seed and one column for each prompt."""
    pairs, seen = list(rows), set[str]()
    for column in range(len(pairs[0][0])):
        for question in (row[column] for questions in pairs for row in questions):
            if question.pair not in seen:
                seen.add(question.pair)
                yield RatedPair(question.pair, question.prompt.turns, question.first.text, question.second.text)


def write_heard(result: ContestResult, directory: Path) -> None:
    """Writes the result and the page of a contest that people judged. If a contest with a model judge wrote files to the
    same directory, these files are not changed."""
    write_json(directory / HUMAN_RESULT_FILE, result.model_dump(mode="json"))
    (directory / HUMAN_PAGE_FILE).write_text(describe_contest(result), encoding="utf-8")


def read_judge_outcomes(directory: Path) -> tuple[str, dict[str, float]] | None:
    """Reads the files that a contest with a model judge wrote to a directory. Returns the name of the judge, and the
    outcome of each pair with a readable verdict. Returns None if there are no such files. Raises `UserError` if the
    files are damaged."""
    if not (directory / RESULT_FILE).exists() or not (directory / VERDICTS_FILE).exists():
        return None
    result = read_json(directory / RESULT_FILE)
    if not isinstance(result, dict):
        raise UserError(f"{directory / RESULT_FILE} is not a result of `preflab winrate`. Restore it, or remove it.")
    outcomes: dict[str, float] = {}
    for where, row in read_records(directory / VERDICTS_FILE):
        pair = read_text_field(row, "pair", where)
        if "unreadable" not in row.get("orders", ()):
            outcomes[pair] = check_outcome(row.get("outcome"), where)
    return str(result.get("judge")), outcomes


def verdict_rows(judged: Iterable[JudgedPairs]) -> Iterator[dict[str, Any]]:
    """Yields a JSON-compatible dictionary for each verdict, with the judge's choices and replies in both orders of the
    two answers."""
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


def _write_pairs(pairs: Sequence[RatedPair], directory: Path) -> None:
    """Writes the pairs of answers. Raises `UserError` if the directory already contains other pairs for people to
    label."""
    if (directory / SAVED_FILE).exists() or read_labels(directory):
        keep_pairs(pairs, directory)
    else:
        _write_lines(directory / PAIRS_FILE, map(write_pair, pairs))


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
