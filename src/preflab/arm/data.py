"""What a run's method learns from: the testbed's own answers, a stage's, or a file's of the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from preflab.arm.spec import Arm, stage_path
from preflab.errors import UserError
from preflab.testbeds.formats import parse_record
from preflab.testbeds.lines import read_lines
from preflab.types import Preference, Ranking, Rated, best_and_worst, of_two, to_preference, to_ranking

Answers = Preference | Ranking | Rated


def preferences_of(arm: Arm, stages: Path, testbed: Any) -> Callable[[], Sequence[Preference]]:
    """The training pairs, read when a method asks for them; of a ranking its best and its worst answer."""
    if arm.preferences is None:
        return partial(testbed.preferences, "train")
    records = partial(read_answers, stage_path(arm.preferences, stages))
    return lambda: [
        best_and_worst(row) if isinstance(row, Ranking) else row for row in records() if not isinstance(row, Rated)
    ]


def rankings_of(arm: Arm, stages: Path, testbed: Any) -> Callable[[], Sequence[Ranking]] | None:
    """The training rankings, read when a method asks for them; None where the testbed has nothing but pairs."""
    if arm.preferences is None:
        return _own(testbed, "rankings")
    records = partial(read_answers, stage_path(arm.preferences, stages))
    return lambda: [row if isinstance(row, Ranking) else of_two(row) for row in records() if not isinstance(row, Rated)]


def rated_of(arm: Arm, stages: Path, testbed: Any) -> Callable[[], Sequence[Rated]] | None:
    """The single answers to train on; None where the testbed has none."""
    if arm.preferences is None:
        return _own(testbed, "rated")
    records = partial(read_answers, stage_path(arm.preferences, stages))
    return lambda: [row for row in records() if isinstance(row, Rated)]


def _own(testbed: Any, kind: str) -> Callable[[], Sequence[Any]] | None:
    """The testbed's training data of a kind that not every testbed has."""
    own = getattr(testbed, kind, None)
    return partial(own, "train") if own is not None and own("train") else None


def read_answers(path: Path) -> list[Answers]:
    """The pairs, rankings and single answers of a JSON-lines file or of a saved stage's directory, without rankings whose
    answers all score the same. A file of the user's has the fields of `testbeds.formats`; raises `UserError` naming its line.
    """
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    rows = [_answers(record, where) for file in files for where, record in read_lines(file)]
    return [row for row in rows if not isinstance(row, Ranking) or len(set(row.scores)) > 1]


def _answers(record: dict[str, Any], where: str) -> Answers:
    if "turns" in record:  # as preflab itself writes them
        return to_ranking(record) if "completions" in record else to_preference(record)
    row = parse_record(record, where)
    answer = row.answer or row.rejected
    if row.ranked:
        answers, scores = zip(*row.ranked, strict=True)
        return Ranking(row.prompt, answers, scores)
    if row.rated and answer is not None:
        return Rated(row.prompt, answer, row.answer is not None)
    if row.answer is None or row.rejected is None:
        raise UserError(f"{where}: neither a pair (`chosen`, `rejected`), nor a ranking, nor an answer with a `label`.")
    return Preference(row.prompt, row.answer, row.rejected, row.margin, row.probability)
