"""What a run's method learns from (the testbed's answers, those of a stage, or a file of the user), and its provenance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from preflab.arm.spec import Arm, evaluator_models, made_elsewhere, stage_path
from preflab.data.check import AnyRecord, RowCounts, check_rows
from preflab.data.files import read_source
from preflab.data.reading import FileReading
from preflab.data.row import DialogueRow
from preflab.errors import UserError
from preflab.models.facts import TRAINED_ON
from preflab.testbeds.base import Testbed
from preflab.testbeds.provenance import refuse_overlap
from preflab.train.files import read_json
from preflab.types import Preference, Prompt, Ranking, Rated, best_and_worst, of_two

Answers = Preference | Ranking | Rated


Fit = Callable[[list[Answers], Path, Callable[[Prompt], str]], list[Answers]]
"""What is done to the rows of a file, which it gets with the file and a function that names a prompt's line."""


def keep_all(rows: list[Answers], path: Path, locate: Callable[[Prompt], str]) -> list[Answers]:
    return rows


def preferences_of(arm: Arm, stages: Path, testbed: Testbed, fit: Fit = keep_all) -> Callable[[], Sequence[Preference]]:
    """The training pairs, read when a method asks for them; a ranking gives its best and its worst answer."""
    if arm.preferences is None:
        return partial(testbed.preferences, "train")
    records = partial(_read_fitted, stage_path(arm.preferences, stages), fit)
    return lambda: [
        best_and_worst(row) if isinstance(row, Ranking) else row for row in records() if not isinstance(row, Rated)
    ]


def rankings_of(
    arm: Arm, stages: Path, testbed: Testbed, fit: Fit = keep_all
) -> Callable[[], Sequence[Ranking]] | None:
    """The training rankings, read when a method asks for them; None where the testbed has only pairs."""
    if arm.preferences is None:
        return partial(testbed.rankings, "train") if testbed.rankings("train") else None
    records = partial(_read_fitted, stage_path(arm.preferences, stages), fit)
    return lambda: [row if isinstance(row, Ranking) else of_two(row) for row in records() if not isinstance(row, Rated)]


def rated_of(arm: Arm, stages: Path, testbed: Testbed, fit: Fit = keep_all) -> Callable[[], Sequence[Rated]] | None:
    """The single answers to train on; None where the testbed has none."""
    if arm.preferences is None:
        return partial(testbed.rated, "train") if testbed.rated("train") else None
    records = partial(_read_fitted, stage_path(arm.preferences, stages), fit)
    return lambda: [row for row in records() if isinstance(row, Rated)]


def _read_fitted(path: Path, fit: Fit) -> list[Answers]:
    return fit(read_answers(path), path, locate_in(path))


def training_rows(arm: Arm, stages: Path, testbed: Testbed, fit: Fit = keep_all) -> Sequence[AnyRecord]:
    """The rows that the arm's method learns from, whatever their kind; empty where it reads none of the data. Raises
    `UserError` where there are none of its kind."""
    source = "none" if arm.method is None else arm.method.learns_from
    if source == "none":
        return ()
    if source == "prompts":
        return testbed.prompts("train")
    if source == "demonstrations":
        return testbed.demonstrations("train")
    if source == "rated" and (rated := rated_of(arm, stages, testbed, fit)) is not None and (rows := rated()):
        return rows
    if source == "rankings" and (rankings := rankings_of(arm, stages, testbed, fit)) is not None:
        return rankings()
    return preferences_of(arm, stages, testbed, fit)()


def check_training_rows(arm: Arm, stages: Path, testbed: Testbed, fit: Fit = keep_all) -> RowCounts | None:
    """The counts of the rows that the arm's method learns from; None where it reads none of the data. Raises `UserError` where
    they can teach nothing, and where the method needs a reward and the arm names none."""
    if arm.method is None:
        return None
    if arm.method.scores_samples and arm.reward is None:
        raise UserError(f"The method {arm.method.kind} scores its own samples: name a reward with --reward.")
    if arm.method.learns_from == "none":
        return None
    where = f"the train split of {testbed.name}" if arm.preferences is None else arm.preferences
    return check_rows(training_rows(arm, stages, testbed, fit), where)


def locate_in(path: Path) -> Callable[[Prompt], str]:
    """A function that names the line of the user's file in which a prompt stands."""

    def locate(prompt: Prompt) -> str:
        for read in FileReading().read_all(read_source(str(path))):
            if any(row.prompt.id == prompt.id for row in read.rows):
                return read.where
        return f"prompt {prompt.id!r}"

    return locate


def read_answers(path: Path) -> list[Answers]:
    """The pairs, rankings and single answers of a file, or of a saved stage's directory, without rankings whose answers all
    score the same. A file that the user wrote has any shape of `data.shapes`. Raises `UserError` naming the line.
    """
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
    """A row's answers; raises `UserError` naming the line where it holds none to compare."""
    answer = row.answer or row.rejected
    if row.ranked:
        answers, scores = zip(*row.ranked, strict=True)
        return Ranking(row.prompt, answers, scores)
    if row.rated and answer is not None:
        return Rated(row.prompt, answer, row.answer is not None)
    if row.answer is None or row.rejected is None:
        raise UserError(f"{where}: neither a pair (`chosen`, `rejected`), nor a ranking, nor an answer with a `label`.")
    return Preference(row.prompt, row.answer, row.rejected, row.margin, row.probability)


def provenance_of(arm: Arm, testbed: Testbed, stages: Path) -> list[dict[str, Any]]:
    """The provenance of everything that the arm's policy was or will be trained on, what its start was trained on included."""
    own = testbed.provenance() if arm.method is not None else None
    records = [] if own is None else [own]
    base = [arm.model.name] if Path(arm.model.name).is_dir() else []
    for path in base + made_elsewhere(arm):
        file = stage_path(path, stages) / TRAINED_ON
        if file.exists():
            records += [record for record in read_provenance(file) if record not in records]
    return records


def read_provenance(path: Path) -> list[dict[str, Any]]:
    """What a product was trained on. Raises `UserError` where the file is damaged."""
    records = read_json(path)
    if not (isinstance(records, list) and all(isinstance(record, dict) for record in records)):
        raise UserError(f"{path} is damaged: it is not a list of records. Train that model again.")
    return records


def refuse_shared_data(arm: Arm, provenance: Sequence[dict[str, Any]], stages: Path) -> None:
    """Raises `UserError` where a learned evaluator was trained on data that the policy, its start or its reward model was
    trained on."""
    refuse_trained_on_same(evaluator_models(arm), provenance, stages)


def refuse_trained_on_same(models: Iterable[str], provenance: Sequence[dict[str, Any]], stages: Path) -> None:
    """Raises `UserError` where one of an evaluator's models saw data of this provenance."""
    for path in models:
        file = stage_path(path, stages) / TRAINED_ON
        if not file.exists():
            raise UserError(f"{file.parent} does not say what it was trained on: train the evaluator with preflab.")
        for record in read_provenance(file):
            refuse_overlap(record, provenance)
