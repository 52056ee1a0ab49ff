"""Prints the results of `preflab data check` as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from preflab.data.fix import Dropped
from preflab.data.row import DialogueRow
from preflab.data.source_check import Lengths, SourceCheck
from preflab.text import counted, one_line, visible

if TYPE_CHECKING:
    from preflab.models.lm import LanguageModel

_BAR = 30
_SHOWN = 600
_DROPPED_SHOWN = 20
_ONE = {
    "prompts": "prompt",
    "demonstrations": "demonstration",
    "pairs": "pair",
    "rankings": "ranking",
    "good answers": "good answer",
    "bad answers": "bad answer",
    "problems with tests": "problem with tests",
}
"""Maps each kind of example in `SourceCheck.kinds` to its singular."""


def print_checks(
    checks: Sequence[SourceCheck], leaks: Sequence[tuple[str, str, int]], model: LanguageModel | None
) -> None:
    for check in checks:
        print("\n".join(describe_check(check, model)))
    for one, other, count in leaks:
        print(visible(f"leak: {counted(count, 'prompt')} of {one} also found in {other}"))


def describe_check(check: SourceCheck, model: LanguageModel | None) -> list[str]:
    """Returns lines of text that describe the check of one source."""
    lines = [
        f"{check.source}: {counted(check.records, 'record')}, {check.usable:,} usable, {check.flawless:,} without a fault"
    ]
    lines += [f"  shape: {_join_counts(check.shapes) or 'none is recognised'}"]
    lines += [
        f"  holds: {_join_counts({_ONE[kind] if count == 1 else kind: count for kind, count in check.kinds.items()})}"
    ]
    lines += [f"  turns of a prompt: {', '.join(f'{turns}: {count:,}' for turns, count in check.turns.items())}"]
    for name, lengths in (("prompts", check.prompt_lengths), ("answers", check.answer_lengths)):
        lines += _draw_lengths(name, check.unit, lengths)
    if check.truncated is not None:
        lines.append(f"  longer than the model's context: {check.truncated:.1%}")
    if check.longer_wins is not None:
        lines.append(
            f"  length: the longer answer is chosen in {check.longer_wins:.1%} of pairs; "
            f"a rule that uses only the length is right in {check.length_only_accuracy:.1%}"
        )
    if check.safety:
        lines.append(f"  answers of a pair: {_join_counts(check.safety)}")
    if check.broken.count:
        lines.append(f"  broken: {check.broken.count:,}, the first: {check.first_broken}")
    lines += [f"  {fault.count:,} × {name} ({', '.join(fault.first)})" for name, fault in check.faults.items()]
    lines += [f"  note: {note}" for note in check.notes]
    if check.first is not None:
        name = "the first record" if model is None else f"the record {check.first.where}"
        lines += [f"  {name}:", *_show_fields(check.first.record), "  is read as:"]
        lines += _show_row(check.first.rows[0], model)
    return [visible(line) for line in lines]


def print_dropped(out: Path, written: int, dropped: Sequence[Dropped]) -> None:
    begin = f"{out}: {counted(written, 'record')} written" if written else f"{out} is not written: no record is left"
    print(visible(f"{begin}, {len(dropped):,} dropped"))
    for row in dropped[:_DROPPED_SHOWN]:
        print(visible(f"  {row.where}: {row.reason.removeprefix(row.where).lstrip(': ')}"))
    if len(dropped) > _DROPPED_SHOWN:
        print(f"  and {len(dropped) - _DROPPED_SHOWN:,} more (--json lists all)")


def _join_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _draw_lengths(name: str, unit: str, lengths: Lengths | None) -> list[str]:
    """Returns a line with the median, the 90% quantile and the maximum of the lengths. Adds one line with a bar for
    each bin of the histogram of the lengths."""
    if lengths is None:
        return []
    most = max(lengths.histogram.values())
    bars = [
        f"    {f'< {bound:,}':>11} {'█' * max(1, round(_BAR * count / most))} {count:,}"
        for bound, count in lengths.histogram.items()
    ]
    return [f"  {name} in {unit}: median {lengths.median:,}, 90% {lengths.p90:,}, longest {lengths.largest:,}", *bars]


def _show_fields(record: Mapping[str, object]) -> list[str]:
    return [
        f"    {name}: {one_line(json.dumps(value, ensure_ascii=False, default=str))[:120]}"
        for name, value in record.items()
    ]


def _show_row(row: DialogueRow, model: LanguageModel | None) -> list[str]:
    """Returns lines of text that show a row as a training method receives it. If the chat template of `model` accepts
    the row, the lines show the decoded tokens of the model, so that special tokens are visible."""
    good, bad = (
        ("good answer", "bad answer") if row.rated else ("chosen", "rejected") if row.rejected else ("answer", "")
    )
    answers = [(name, answer) for name, answer in ((good, row.answer), (bad, row.rejected)) if answer is not None]
    if model is None or not _is_taken(model, row):
        turns = [f"    {turn.role}: {_shorten(turn.content)}" for turn in row.prompt.turns]
        return [*turns, *(f"    {name}: {_shorten(answer.text)}" for name, answer in answers)]
    texts = [("prompt", model.encode_prompt(row.prompt))]
    texts += [(name, model.encode_completion(answer)) for name, answer in answers]
    return [
        f"    {name}: {_shorten(json.dumps(model.tokenizer.decode(ids), ensure_ascii=False))}" for name, ids in texts
    ]


def _is_taken(model: LanguageModel, row: DialogueRow) -> bool:
    from preflab.cli.refusal import name_refusal
    from preflab.models.refusal import RefusalFinder

    return not name_refusal(RefusalFinder(model), row)


def _shorten(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 40]} … ({len(text):,} characters)"
