"""Reads pairs with labels: benchmarks on which a judge is checked, and people's labels of the judged pairs. No torch."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from preflab.data.lines import check_record, open_plain, read_records, read_text_field
from preflab.errors import UserError
from preflab.evaluation.pairwise import LOSS, TIE, WIN
from preflab.evaluation.preference.base import PreferenceQuestion, name_pair
from preflab.plain import parse_json
from preflab.rating import read_labels
from preflab.types import Completion, Prompt, Turn

OUTCOMES = (WIN, TIE, LOSS)
LLMBAR = ("input", "output_1", "output_2", "label")
OWN = ("prompt", "first", "second", "outcome")


def read_labelled_pairs(paths: Sequence[Path]) -> tuple[list[PreferenceQuestion], list[float]]:
    """Returns the questions about labelled pairs, and the first answer's outcome by label. A file is a JSON list or has one
    record on each line, in LLMBar's form `{input, output_1, output_2, label: 1 or 2}` or as `{prompt, first, second,
    outcome: 1, 0.5 or 0}`. Raises `UserError`, which names the record, for anything else."""
    questions: list[PreferenceQuestion] = []
    labels: list[float] = []
    for where, record in (item for path in paths for item in _read_any(path)):
        prompt, first, second, label = _read_pair(record, where)
        name = name_pair(prompt, first, second)
        turns = (Turn("user", prompt),)
        questions.append(PreferenceQuestion(name, Prompt(name, turns), Completion(first), Completion(second)))
        labels.append(label)
    return questions, labels


def _read_pair(record: Mapping[str, Any], where: str) -> tuple[str, str, str, float]:
    fields = LLMBAR if "output_1" in record else OWN
    prompt, first, second = (read_text_field(record, name, where) for name in fields[:3])
    label = record.get(fields[3])
    if fields == LLMBAR:
        if isinstance(label, bool) or label not in (1, 2):
            raise UserError(f"{where}: `label` is {json.dumps(label, default=str)[:40]}. It must be 1 or 2.")
        return prompt, first, second, WIN if label == 1 else LOSS
    return prompt, first, second, check_outcome(label, where)


def read_people(path: Path) -> dict[str, float]:
    """Returns people's mean outcome for each labelled pair, by the pair's name. `path`: a file of labels, or a directory in
    which people judged the pairs on the page."""
    if not path.is_dir():
        return read_label_file(path)
    labels = mean_labels(path)
    if not labels:
        raise UserError(
            f"{path} holds no label. Name a directory in which people judged, by `--judge human` or `preflab rate`."
        )
    return labels


def mean_labels(folder: Path) -> dict[str, float]:
    """Returns the mean outcome of each pair that people have labelled on the page."""
    return {pair: fmean(given) for pair, given in labels_by_pair(folder).items()}


def labels_by_pair(folder: Path) -> dict[str, tuple[float, ...]]:
    """Returns the outcomes of each pair that people have labelled on the page, one for each rater."""
    by_pair: dict[str, list[float]] = defaultdict(list)
    for label in read_labels(folder):
        by_pair[label.pair].append(label.outcome)
    return {pair: tuple(given) for pair, given in by_pair.items()}


def read_label_file(path: Path) -> dict[str, float]:
    """Returns people's mean outcome for each labelled pair, by the pair's name. A line is `{pair, outcome: 1, 0.5 or 0}`,
    and may name its `rater`. Raises `UserError` if a rater labels a pair twice."""
    by_pair: dict[str, dict[str, float]] = {}
    for where, record in read_records(path):
        pair, rater = read_text_field(record, "pair", where), str(record.get("rater", ""))
        raters = by_pair.setdefault(pair, {})
        if rater in raters:
            whose = f"{rater!r} labels" if rater else "a rater without a name labels"
            raise UserError(f"{where}: {whose} the pair {pair!r} twice. Remove one line, or name the `rater` of each.")
        raters[rater] = check_outcome(record.get("outcome"), where)
    return {pair: fmean(raters.values()) for pair, raters in by_pair.items()}


def check_outcome(value: Any, where: str) -> float:
    """Returns an outcome from a file. Raises `UserError` if it is not 1, .5 or 0."""
    if isinstance(value, bool) or value not in OUTCOMES:
        raise UserError(
            f"{where}: `outcome` is {json.dumps(value, default=str)[:40]}. It must be 1 (the first answer is better), 0.5 (a "
            "tie) or 0."
        )
    return float(value)


def _read_any(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the records of a JSON list or of a file of JSON lines, each with its place."""
    try:
        with open_plain(path) as file:
            content = file.read() if file.peek(1)[:1] == b"[" else None
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    if content is None:
        yield from read_records(path)
        return
    rows = parse_json(content, f"{path} cannot be read")
    if not rows:
        raise UserError(f"{path} is an empty list: it holds no labelled pair. Name a file with labelled pairs.")
    for number, row in enumerate(rows, start=1):
        record = check_record(row, f"{path}, record {number}")
        if isinstance(record, UserError):
            raise record
        yield f"{path}, record {number}", record
