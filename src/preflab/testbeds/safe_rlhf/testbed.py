"""Opens PKU-SafeRLHF as a testbed. A rule orders the two responses of each pair. Filters drop pairs and count the
dropped pairs. The safe responses are the demonstrations.

The official train and test records are pooled and split again by prompt (see the module `parts`). The prompts and the
demonstrations do not depend on the rule or the filters. All arms of a study therefore see the same prompts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from pydantic import Field

from preflab.data.files import list_splits, part_split, read_source
from preflab.data.lines import PlacedRecord, require_records
from preflab.data.row import DialogueRow
from preflab.data.safety import SafetyRecord
from preflab.data.safety_rule import SafetyFilter, SafetyRule, find_order
from preflab.errors import UserError
from preflab.spec import Context
from preflab.testbeds.base import SPLITS
from preflab.testbeds.dialogues import Dialogues
from preflab.testbeds.parts import ThreeParts, refuse_empty_splits, refuse_value
from preflab.testbeds.safe_rlhf.filters import filter_pairs
from preflab.testbeds.safe_rlhf.notes import describe_records
from preflab.testbeds.safe_rlhf.records import explain_useless, list_responses, list_safe, parse_safety_record
from preflab.testbeds.safe_rlhf.rule import order_responses
from preflab.types import Demonstration, Prompt, Split

_ONCE = refuse_value(lambda names: len(set(names)) < len(names), "name each filter only once")
ParsedRecord = SafetyRecord | DialogueRow


class SafeRLHF(ThreeParts):
    """Pairs of responses. Labels say which response is more helpful, which is safer, and whether each response is safe.

    `data`: a file or a folder of SafeRLHF's records, or the hub name `PKU-Alignment/PKU-SafeRLHF`. `rows`: the largest
    number of records that are read from each source. `rule`: the label that orders a pair. `paper` uses the helpfulness
    label if both responses are safe, and the safety label otherwise. `helpfulness` always uses the helpfulness label,
    for training a reward model. `safety` always uses the safety label, for training a cost model. `filters`:
    `dual-unsafe` drops pairs whose responses are both unsafe; `dual-safe` drops pairs whose responses are both safe.
    The demonstrations are the safe responses.
    """

    kind: Literal["safe_rlhf"] = "safe_rlhf"
    data: str = "PKU-Alignment/PKU-SafeRLHF"
    rows: Annotated[int, Field(ge=1)] | None = None
    rule: SafetyRule = "paper"
    filters: Annotated[tuple[SafetyFilter, ...], _ONCE] = ()

    @contextmanager
    def open(self, context: Context) -> Generator[SafeDialogues]:
        """Opens the testbed. Raises `UserError` if the data are missing, damaged or empty, or if the rule or a filter
        needs a label that a pair does not have."""
        records, notes = self._read_useful_records()
        pairs, counts = filter_pairs([self._make_row(record) for record in records], self.filters)
        notes += [f"SafeRLHF: {note}" for note in describe_records(records, self.rule, counts)]
        rows: dict[Split, list[DialogueRow]] = {split: [] for split in SPLITS}
        safe: dict[Split, list[Demonstration]] = {split: [] for split in SPLITS}
        for record, row in zip(records, pairs, strict=True):
            if (split := self.choose_split(row.prompt)) is not None:
                rows[split].append(row)
                safe[split] += [Demonstration(row.prompt, answer) for answer in list_safe(record)]
        refuse_empty_splits(rows, self.data, f"{len(records)} records")
        identity = {"source": self.data, "rule": self.rule, "filters": list(self.filters)}
        order = find_order(self.rule, self.filters)
        yield SafeDialogues(rows, safe, part=self.part, identity=identity, notes=notes, ordered_by=order)

    def locate(self, prompt: Prompt) -> str:
        """Reads the records again, and returns the file and line of a prompt."""
        for where, record in self.read_raw_records():
            if parse_safety_record(record, where).prompt.id == prompt.id:
                return where
        return super().locate(prompt)

    def read_raw_records(self) -> Iterator[PlacedRecord]:
        """Yields the raw records of every split of the source, each with its place (file and line)."""
        name, chosen = part_split(self.data)
        for split in [chosen] if chosen else list_splits(name):
            yield from require_records(read_source(name, split=split, rows=self.rows))

    def _read_useful_records(self) -> tuple[list[ParsedRecord], list[str]]:
        """Returns the records that can be used, and a note for each reason why other records were dropped."""
        records: list[ParsedRecord] = []
        total, dropped = 0, Counter[str]()
        for total, (where, raw) in enumerate(self.read_raw_records(), start=1):  # noqa: B007 # `total` is read after the loop
            record = parse_safety_record(raw, where)
            self._refuse_unlabelled(record, where)
            why = explain_useless(record) or self.explain_excess(record.prompt.turns, list_responses(record))
            if why:
                dropped[why] += 1
            else:
                records.append(record)
        if self.filters and not any(isinstance(record, SafetyRecord) for record in records):
            raise UserError(
                f"{self.data}: {self._explain_filters()}, but no record has such labels. Leave out `filters`."
            )
        notes = [f"SafeRLHF: {count} of {total} records dropped because {why}." for why, count in dropped.most_common()]
        return records, notes

    def _refuse_unlabelled(self, record: ParsedRecord, where: str) -> None:
        """Raises `UserError` if a pair is ordered only by safety, but the rule or a filter needs other labels."""
        if isinstance(record, SafetyRecord) or record.rejected is None:
            return
        if self.rule != "safety":
            raise UserError(
                f"{where}: the labels of this pair show only which response is safer. The rule `{self.rule}` needs records "
                "with both labels (`better_response_id`, `safer_response_id`). Set `rule: safety`, or name other "
                f"data{self._suggest_data()}."
            )
        if self.filters:
            raise UserError(
                f"{where}: {self._explain_filters()}, but the labels of this pair show only which response is safer. "
                "Leave out `filters`, or name data with these labels."
            )

    def _suggest_data(self) -> str:
        """Returns a phrase that suggests a split of the source whose first record has labels for helpfulness and for
        safety. Returns '' if the source has no such split."""
        name, chosen = part_split(self.data)
        splits = [] if chosen else list_splits(name)
        labelled = [split for split in splits if split and self._has_both_labels(name, split)]
        return f", such as `{name}#{labelled[0]}`" if labelled else ""

    def _has_both_labels(self, name: str, split: str) -> bool:
        first = next(require_records(read_source(name, split=split, rows=1)), None)
        return first is not None and "response_0" in first[1]

    def _explain_filters(self) -> str:
        return f"the filter `{self.filters[0]}` needs a safety label for each response (`is_response_0_safe`)"

    def _make_row(self, record: ParsedRecord) -> DialogueRow:
        """Returns the pair of a record. If the record is a single answer, returns a row with only the prompt."""
        if isinstance(record, SafetyRecord):
            return order_responses(record, self.rule)
        return DialogueRow(record.prompt) if record.rejected is None else record


class SafeDialogues(Dialogues):
    """Dialogues whose demonstrations are the safe responses. A safe response is a demonstration even if it is the
    rejected response of its pair. `safe`: the demonstrations of each split."""

    def __init__(
        self,
        rows: Mapping[Split, Sequence[DialogueRow]],
        safe: Mapping[Split, Sequence[Demonstration]],
        *,
        part: str,
        identity: Mapping[str, Any],
        notes: Sequence[str] = (),
        ordered_by: SafetyRule,
    ) -> None:
        super().__init__("safe_rlhf", rows, part=part, identity=identity, notes=notes)
        self.ordered_by = ordered_by
        self._safe = safe

    def demonstrations(self, split: Split) -> Sequence[Demonstration]:
        """Returns one demonstration for each different safe response to each prompt. Raises `MissingRecords` if no
        response of the split is known to be safe."""
        if not self._safe[split]:
            raise self.lacks("responses that are known to be safe", split)
        return list({(row.prompt.id, row.completion.text): row for row in self._safe[split]}.values())
