"""Chooses the prompts and answers that a report shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import indent
from typing import Any

from preflab.analysis import record
from preflab.analysis.gather import Arms
from preflab.evaluation.result import ShownAnswer

LONGEST_DETAIL = 600
"""The largest number of characters that a report shows of each part of a failing test."""


def choose_samples(arms: Arms) -> Iterator[record.Sample]:
    """Yields the first prompts of the test split, each with the answers of all arms under the first seed."""
    firsts = {name: runs[0] for name, runs in arms.items() if not runs[0].diverged}
    if not firsts:
        return
    first = next(iter(firsts.values()))
    for index, sample in enumerate(first.evaluation.samples):
        answers = {name: run.evaluation.samples[index] for name, run in firsts.items()}
        yield record.Sample(
            problem=sample.problem,
            # An arm may add examples to a prompt. The shortest prompt has no added examples.
            prompt=min((answer.prompt for answer in answers.values()), key=len),
            level=sample.level,
            seed=first.seed,
            answers=tuple(describe_answer(name, answer) for name, answer in answers.items()),
        )


def describe_answer(arm: str, answer: ShownAnswer) -> record.Answer:
    parts = answer.model_dump(include={"text", "score", "outcome", "passed", "truncated"})
    return record.Answer(arm=arm, detail=describe_failure(answer.detail), **parts)


def describe_failure(detail: Mapping[str, Any]) -> str:
    """Returns a description of the first failed test. The description has one line for each part of `detail`. A part
    with several lines becomes an indented block. Long parts are cut."""
    parts: list[str] = []
    for key, value in detail.items():
        words = str(value).strip("\n")
        words = words if len(words) <= LONGEST_DETAIL else words[:LONGEST_DETAIL] + " …"
        parts.append(f"{key}: {words}" if "\n" not in words else f"{key}:\n{indent(words, '  ')}")
    return "\n".join(parts)
