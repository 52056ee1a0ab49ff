"""Reads the training data of a run, and the records of where these data come from.

The data come from the testbed, from an earlier stage of the study, or from a file of the user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from preflab.arm.spec import Arm, input_paths, saved_models, stage_path
from preflab.data.check import AnyRecord, RowCounts, check_rows
from preflab.data.files import read_source
from preflab.data.reading import FileReading
from preflab.data.row import DialogueRow
from preflab.errors import UserError
from preflab.models.facts import TRAINED_ON
from preflab.spec import HoldsModels
from preflab.testbeds.base import Testbed
from preflab.testbeds.provenance import refuse_overlap
from preflab.train.files import read_json
from preflab.types import Preference, Prompt, Ranking, Rated, best_and_worst, of_two

Answers = Preference | Ranking | Rated


Fit = Callable[[list[Answers], Path, Callable[[Prompt], str]], list[Answers]]
"""A function that drops or cuts the rows of a file that are too long. The function takes the rows, the path of the
file, and another function that returns the file and line of a prompt."""


def keep_all(rows: list[Answers], path: Path, locate: Callable[[Prompt], str]) -> list[Answers]:
    return rows


def preferences_of(arm: Arm, stages: Path, testbed: Testbed, fit: Fit = keep_all) -> Callable[[], Sequence[Preference]]:
    """Returns a function that reads the training pairs when it is called. The function turns a ranking into a pair of
    the best and the worst answer."""
    if arm.preferences is None:
        return partial(testbed.preferences, "train")
    records = partial(_read_fitted, stage_path(arm.preferences, stages), fit)
    return lambda: [
        best_and_worst(row) if isinstance(row, Ranking) else row for row in records() if not isinstance(row, Rated)
    ]


def rankings_of(arm: Arm, stages: Path, testbed: Testbed, fit: Fit = keep_all) -> Callable[[], Sequence[Ranking]]:
    """Returns a function that reads the training rankings when it is called."""
    if arm.preferences is None:
        return partial(testbed.rankings, "train")
    records = partial(_read_fitted, stage_path(arm.preferences, stages), fit)
    return lambda: [row if isinstance(row, Ranking) else of_two(row) for row in records() if not isinstance(row, Rated)]


def rated_of(arm: Arm, stages: Path, testbed: Testbed, fit: Fit = keep_all) -> Callable[[], Sequence[Rated]]:
    """Returns a function that reads the labelled training answers when it is called."""
    if arm.preferences is None:
        return partial(testbed.rated, "train")
    records = partial(_read_fitted, stage_path(arm.preferences, stages), fit)
    return lambda: [row for row in records() if isinstance(row, Rated)]


def _read_fitted(path: Path, fit: Fit) -> list[Answers]:
    return fit(read_answers(path), path, locate_in(path))


def training_rows(arm: Arm, stages: Path, testbed: Testbed, fit: Fit = keep_all) -> Sequence[AnyRecord]:
    """Returns the rows that the arm's method learns from, such as pairs or demonstrations; () if the method uses no
    data. Raises `UserError` if the data contain no such rows."""
    source = "none" if arm.method is None else arm.method.learns_from
    if source == "none":
        return ()
    if source == "prompts":
        return testbed.prompts("train")
    if source == "demonstrations":
        return testbed.demonstrations("train")
    if source == "rated" and (rated := rated_of(arm, stages, testbed, fit)()):
        return rated
    if source == "rankings" and (rankings := rankings_of(arm, stages, testbed, fit)()):
        return rankings
    return preferences_of(arm, stages, testbed, fit)()


def check_training_rows(arm: Arm, stages: Path, testbed: Testbed, fit: Fit = keep_all) -> RowCounts | None:
    """Counts the rows that the arm's method learns from; returns None if the method uses no data. Raises `UserError` if
    nothing can be learned from the rows, or if the method needs a reward or a cost that the arm does not have."""
    if arm.method is None:
        return None
    if arm.method.scores_samples and arm.reward is None:
        raise UserError(
            f"The method {arm.method.kind_name} needs a reward for its samples. Name a reward with --reward."
        )
    if arm.method.needs_cost and arm.cost is None:
        raise UserError(
            f"The method {arm.method.kind_name} needs a cost that scores its samples. Name a cost with --cost."
        )
    if arm.method.learns_from == "none":
        return None
    where = f"the train split of {testbed.name}" if arm.preferences is None else arm.preferences
    return check_rows(training_rows(arm, stages, testbed, fit), where)


def locate_in(path: Path) -> Callable[[Prompt], str]:
    """Returns a function that finds the file and the line of a prompt in the user's data, for error messages."""

    def locate(prompt: Prompt) -> str:
        for read in FileReading().read_all(read_source(str(path))):
            if any(row.prompt.id == prompt.id for row in read.rows):
                return read.where
        return f"prompt {prompt.id!r}"

    return locate


def read_answers(path: Path) -> list[Answers]:
    """Reads the pairs, rankings and labelled answers in a file, or in the directory that a stage saved. Leaves out
    rankings whose answers all have the same score. A record can have any format that `data.shapes` defines. Raises
    `UserError`, which names the line, if a record cannot be read."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    rows = [row for file in files for row in _read_file(file)]
    return [row for row in rows if not isinstance(row, Ranking) or len(set(row.scores)) > 1]


def _read_file(path: Path) -> Iterator[Answers]:
    for read in FileReading().read_all(read_source(str(path))):
        if read.error is not None:
            raise read.error
        for row in read.rows:
            yield to_answers(row, read.where)


def to_answers(row: DialogueRow, where: str) -> Answers:
    """Converts a row into a pair, a ranking or a labelled answer. Raises `UserError`, which names the line, if the row
    cannot be converted."""
    answer = row.answer or row.rejected
    if row.ranked:
        answers, scores = zip(*row.ranked, strict=True)
        return Ranking(row.prompt, answers, scores)
    if row.rated and answer is not None:
        return Rated(row.prompt, answer, row.answer is not None)
    if row.answer is None or row.rejected is None:
        raise UserError(
            f"{where}: the record is not a pair (`chosen`, `rejected`), a ranking, or an answer with a `label`."
        )
    labels = (row.margin, row.probability, *row.safe)
    return Preference(row.prompt, row.answer, row.rejected, *labels)


def provenance_of(arm: Arm, testbed: Testbed, stages: Path) -> list[dict[str, Any]]:
    """Returns provenance records of all data that the arm trains its policy on, and of the data that the starting model
    was trained on."""
    own = testbed.provenance() if arm.method is not None else None
    records = [] if own is None else [own]
    base = [arm.model.name] if Path(arm.model.name).is_dir() else []
    for path in base + input_paths(arm):
        file = stage_path(path, stages) / TRAINED_ON
        if file.exists():
            records += [record for record in read_provenance(file) if record not in records]
    return records


def read_provenance(path: Path) -> list[dict[str, Any]]:
    """Reads the provenance of the data that a saved model was trained on. Raises `UserError` if the file is damaged."""
    records = read_json(path)
    if not (isinstance(records, list) and all(isinstance(record, dict) for record in records)):
        raise UserError(f"{path} is damaged: it is not a list of records. Train the model in this directory again.")
    return records


def refuse_shared_data(arm: Arm, provenance: Sequence[dict[str, Any]], stages: Path) -> None:
    """Raises `UserError` if a learned evaluator was trained on the same data as the arm's policy, starting model or
    reward model."""
    for evaluator in arm.evaluators.values():
        refuse_trained_on_same(evaluator, provenance, stages)


def refuse_trained_on_same(evaluator: HoldsModels, provenance: Sequence[dict[str, Any]], stages: Path) -> None:
    """Raises `UserError` if a model of the evaluator was trained on data that `provenance` lists. Also raises
    `UserError` if neither the model's files nor the user's spec name the training data of the model."""
    origins = evaluator.origins()
    for path in saved_models(evaluator):
        file = stage_path(path, stages) / TRAINED_ON
        if file.exists():
            for record in read_provenance(file):
                refuse_overlap(record, provenance)
        elif path not in origins:
            raise UserError(
                f"The files in {file.parent} do not name the training data of this model. Train the evaluator with preflab, "
                "or describe the data in the setting `trained_on` of this model. The report then shows your description."
            )
