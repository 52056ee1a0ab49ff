"""Opens Anthropic's HH-RLHF (Bai et al. 2022): dialogues with two alternative last answers. People preferred one of the
two answers.

A record has the fields `chosen` and `rejected`. Each field is a whole dialogue. Each turn of the dialogue begins with
`Human:` or `Assistant:` after a blank line. preflab pools the official train and test files, and divides the dialogues
into three parts by their *first human turn*. Part A trains policies and reward models. Part B trains only the
evaluator. Part C is the test data. The same first human turn is never in two parts, and never in both training and
validation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import model_validator

from preflab.data.hh_strings import read_dialogue_pair
from preflab.data.hub import check_on_hub, load_hub_records
from preflab.data.lines import read_records, read_text_field
from preflab.data.row import DialogueRow, UselessRecordError, make_prompt_id
from preflab.errors import UserError, refuse_unknown
from preflab.paths import user_path
from preflab.spec import Context
from preflab.testbeds.base import SPLITS
from preflab.testbeds.dialogues import Dialogues
from preflab.testbeds.mixture import Mixture, SubsetRow, draw_mixture
from preflab.testbeds.parts import ThreeParts, refuse_empty_splits, refuse_value
from preflab.types import Prompt, Split

_SUBSETS = ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled")
_FILES = ("train.jsonl", "train.jsonl.gz", "test.jsonl", "test.jsonl.gz")
_NAMES = refuse_value(
    lambda names: not names or len(set(names)) < len(names), "name at least one subset, and name each subset only once"
)


class HH(ThreeParts):
    """Human preferences between two answers in a dialogue, from Anthropic's HH-RLHF.

    `data`: a folder with the files `<subset>/{train,test}.jsonl[.gz]`, or the hub name `Anthropic/hh-rlhf`. `subsets`:
    the names of the subsets to read. `mixture`: maps a subset to the amount of its training pairs that is used. An
    integer is a number of pairs. A number with a decimal point is a fraction of the subset's training pairs. A subset
    that the mixture does not name gives no training pairs. An empty mixture uses all pairs. `mixture_seed`: the seed of
    the random draw of the training pairs. Validation and test always use all pairs. The level of a prompt is the name
    of its subset.
    """

    kind: Literal["hh_rlhf"] = "hh_rlhf"
    data: str = "Anthropic/hh-rlhf"
    subsets: Annotated[tuple[str, ...], _NAMES] = _SUBSETS
    mixture: Mixture = {}
    mixture_seed: int = 0

    @model_validator(mode="after")
    def _mixes_what_is_read(self) -> HH:
        refuse_unknown(self.mixture, self.subsets, "`mixture` names the subset")
        return self

    @contextmanager
    def open(self, context: Context) -> Generator[Dialogues]:
        """Opens the testbed. Raises `UserError` if data are missing, damaged or empty."""
        rows, notes = self._read_splits()
        notes.append("all pairs, including the official test pairs, were split again by the first human turn.")
        if self.mixture:
            rows["train"], drawn = draw_mixture(rows["train"], self.mixture, self.mixture_seed, self.data)
            taken = ", ".join(f"{name} {count} of {present}" for name, count, present in drawn)
            notes.append(f"the training pairs are a mixture (seed {self.mixture_seed}): {taken}.")
        notes.append(f"pairs by subset: {'; '.join(f'{split} {count_subsets(rows[split])}' for split in SPLITS)}.")
        identity = {"source": self.data, "subsets": list(self.subsets)}
        identity |= {"mixture": self.mixture, "mixture_seed": self.mixture_seed} if self.mixture else {}
        plain: dict[Split, list[DialogueRow]] = {split: [row for _, row in rows[split]] for split in SPLITS}
        notes = [f"HH-RLHF: {note}" for note in notes]
        yield Dialogues("hh_rlhf", plain, part=self.part, identity=identity, notes=notes)

    def _read_splits(self) -> tuple[dict[Split, list[SubsetRow]], list[str]]:
        """Returns the pairs of each split, and a note for each reason why pairs were dropped. The level of a prompt
        is the first subset in which the prompt occurs."""
        rows: dict[Split, list[SubsetRow]] = {split: [] for split in SPLITS}
        total, dropped = 0, Counter[str]()
        levels: dict[str, str] = {}
        for subset, where, record in self.read_raw_records():
            total += 1
            row = self.parse_pair(record, where)
            if isinstance(row, str):
                dropped[row] += 1
            elif (split := self.choose_split(row.prompt)) is not None:
                level = levels.setdefault(row.prompt.id, subset)
                rows[split].append((subset, replace(row, prompt=replace(row.prompt, level=level))))
        refuse_empty_splits(rows, self.data, f"{total} pairs ({sum(dropped.values())} dropped)")
        return rows, [f"{count} of {total} pairs dropped because {why}." for why, count in dropped.most_common()]

    def read_raw_records(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Yields the raw records, each with its subset and its place (file and line). Reads the folder `data` if this
        folder exists. Otherwise, reads the records from the hub."""
        folder = user_path(self.data)
        if folder.is_dir():
            for subset in self.subsets:
                yield from ((subset, *placed) for placed in _read_subset(folder, subset))
        elif re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", self.data):
            check_on_hub(self.data)
            for subset in self.subsets:
                for split in ("train", "test"):
                    yield from ((subset, *placed) for placed in load_hub_records(self.data, subset, split))
        else:
            raise UserError(
                f"There is no folder {self.data}. `data` must be a folder with files such as "
                f"{self.subsets[0]}/train.jsonl.gz, or the hub name Anthropic/hh-rlhf."
            )

    def parse_pair(self, record: Mapping[str, Any], where: str) -> DialogueRow | str:
        """Converts a record into a row. If the record must be dropped, returns the reason instead. Raises `UserError`
        if the record does not have the form of HH-RLHF."""
        chosen, rejected = (read_text_field(record, name, where) for name in ("chosen", "rejected"))
        if chosen == rejected:
            return "chosen and rejected are the same"
        try:
            turns, better, worse = read_dialogue_pair(chosen, rejected, where)
        except UselessRecordError as error:
            return error.reason
        if not (better.text and worse.text):
            return "an answer is empty"
        if excess := self.explain_excess(turns, (better, worse)):
            return excess
        return DialogueRow(Prompt(make_prompt_id(turns), turns), better, worse)


def count_subsets(rows: Sequence[SubsetRow]) -> str:
    """Returns a text with the number of pairs in each subset, such as `helpful-base 12, harmless-base 8`."""
    return ", ".join(f"{subset} {count}" for subset, count in Counter(subset for subset, _ in rows).items()) or "none"


def _read_subset(folder: Path, subset: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    paths = [path for name in _FILES if (path := folder / subset / name).is_file()]
    if not paths:
        present = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise UserError(
            f"{folder / subset} contains no file train.jsonl[.gz] or test.jsonl[.gz]. Subsets in this "
            f"folder: {', '.join(present) or 'none'}. Name some of these subsets in `subsets`."
        )
    for path in paths:
        yield from read_records(path)
