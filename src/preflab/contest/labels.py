"""Reads people's labels of judged pairs, and finds the outcomes of the pairs of a contest. Imports no torch."""

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
    """Returns a map from the name of each labelled pair to people's mean outcome. `path`: a file of labels, or the
    directory of a contest whose pairs people labelled on the page."""
    if not path.is_dir():
        return read_label_file(path)
    labels = mean_labels(path)
    if not labels:
        raise UserError(
            f"{path} holds no label. Name a directory of `--judge human` or `preflab rate` with people's labels."
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
    """Returns a map from the name of each labelled pair to people's mean outcome. A line is
    `{pair, outcome: 1, 0.5 or 0}`, and may name its `rater`. Raises `UserError` if a rater labels a pair twice."""
    by_pair: dict[str, dict[str, float]] = {}
    for where, record in read_records(path):
        pair, rater = read_text_field(record, "pair", where), str(record.get("rater", ""))
        raters = by_pair.setdefault(pair, {})
        if rater in raters:
            whose = f"{rater!r} labels" if rater else "a rater without a name labels"
            raise UserError(f"{where}: {whose} the pair {pair!r} twice. Remove one line, or name the `rater` of each.")
        raters[rater] = check_outcome(record.get("outcome"), where)
    return {pair: fmean(raters.values()) for pair, raters in by_pair.items()}


def match_outcomes(outcomes: Mapping[str, float], questions: Iterable[PreferenceQuestion]) -> dict[str, float]:
    """Returns the outcomes of these pairs of answers, by the name of the pair. `outcomes`: known outcomes, such as
    people's labels. The outcome of the same answers in the other order is reversed. A pair without a known outcome is
    left out."""
    known: dict[str, float] = {}
    for question in questions:
        turned = name_pair(question.prompt.id, question.second.text, question.first.text)
        if question.pair in outcomes:
            known[question.pair] = outcomes[question.pair]
        elif turned in outcomes:
            known[question.pair] = WIN + LOSS - outcomes[turned]
    return known
