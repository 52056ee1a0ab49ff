"""Reads people's labels of judged pairs, and matches these labels with the pairs of a contest. Imports no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean

from preflab.data.lines import read_records, read_text_field
from preflab.errors import UserError
from preflab.evaluation.pairwise import LOSS, WIN
from preflab.evaluation.preference.base import PreferenceQuestion, name_pair
from preflab.evaluation.preference.labelled import check_outcome
from preflab.rating import read_labels


def read_people(path: Path) -> dict[str, float]:
    """Maps the name of each labelled pair to the mean of people's labels. `path`: a file of labels, or the directory of
    a contest with pairs that people labelled on the labelling page."""
    if not path.is_dir():
        return read_label_file(path)
    labels = mean_labels(path)
    if not labels:
        raise UserError(
            f"{path} contains no label. Name a directory of `--judge human` or `preflab rate` with people's labels."
        )
    return labels


def mean_labels(folder: Path) -> dict[str, float]:
    """Maps the name of each pair that people labelled on the labelling page to the mean of its labels."""
    return {pair: fmean(given) for pair, given in labels_by_pair(folder).items()}


def labels_by_pair(folder: Path) -> dict[str, tuple[float, ...]]:
    """Maps the name of each pair that people labelled on the labelling page to its labels, one for each rater."""
    by_pair: dict[str, list[float]] = defaultdict(list)
    for label in read_labels(folder):
        by_pair[label.pair].append(label.outcome)
    return {pair: tuple(given) for pair, given in by_pair.items()}


def read_label_file(path: Path) -> dict[str, float]:
    """Maps the name of each labelled pair to the mean of people's labels. Each line of the file has the fields `pair` and
    `outcome` (1, 0.5 or 0), and optionally `rater`. Raises `UserError` if a rater labels a pair twice."""
    by_pair: dict[str, dict[str, float]] = {}
    for where, record in read_records(path):
        pair, rater = read_text_field(record, "pair", where), str(record.get("rater", ""))
        raters = by_pair.setdefault(pair, {})
        if rater in raters:
            whose = f"{rater!r} labels" if rater else "a rater without a name labels"
            raise UserError(f"{where}: {whose} the pair {pair!r} twice. Remove one line, or name two different raters.")
        raters[rater] = check_outcome(record.get("outcome"), where)
    return {pair: fmean(raters.values()) for pair, raters in by_pair.items()}


def match_outcomes(outcomes: Mapping[str, float], questions: Iterable[PreferenceQuestion]) -> dict[str, float]:
    """Maps the name of each pair in `questions` to its known outcome. `outcomes`: maps the name of a pair to its known
    outcome, such as the mean of people's labels. If the known outcome is for the two answers in swapped order, the
    outcome is reversed. A pair without a known outcome is left out."""
    known: dict[str, float] = {}
    for question in questions:
        turned = name_pair(question.prompt.id, question.second.text, question.first.text)
        if question.pair in outcomes:
            known[question.pair] = outcomes[question.pair]
        elif turned in outcomes:
            known[question.pair] = WIN + LOSS - outcomes[turned]
    return known
