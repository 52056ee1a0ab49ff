"""Reads a file of answers. Each line is `{"prompt": ..., "answer": ...}` or `{"id": ..., "answer": ...}`. Imports no
torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from preflab.data.lines import read_records, read_text_field
from preflab.errors import UserError
from preflab.evaluation.preference.template import write_query
from preflab.types import Completion, Prompt

AnswersById = dict[str, Completion]
"""Maps the id of each prompt to a contestant's answer under one seed."""


def read_answer_file(path: Path, prompts: Sequence[Prompt]) -> AnswersById:
    """Reads the answers to `prompts` from a file. Each line of the file identifies its prompt by the field `id` or by
    the field `prompt`. The field `prompt` contains the whole dialogue. If no other prompt ends with the same turn, the
    last turn of the dialogue is enough. Lines with other prompts are ignored. Raises `UserError` if a line has no
    answer, if two lines answer the same prompt, or if the file answers none of the prompts."""
    by_id = {prompt.id: prompt.id for prompt in prompts}
    by_text = _prompts_by_text(prompts)
    answers: AnswersById = {}
    for where, record in read_records(path):
        known, name = (by_id, "id") if "id" in record else (by_text, "prompt")
        prompt = known.get(str(record["id"]) if name == "id" else read_text_field(record, "prompt", where).strip())
        text = read_text_field(record, "answer", where)
        if prompt is None:
            continue
        if prompt in answers:
            raise UserError(f"{where}: this is the second answer to prompt {prompt!r}. Remove one of the two answers.")
        answers[prompt] = Completion(text)
    if not answers:
        raise UserError(
            f"{path} answers none of the {len(prompts)} prompts of the testbed's test split. Each line needs the `id` or the "
            "whole `prompt` of one of them."
        )
    return answers


def _prompts_by_text(prompts: Sequence[Prompt]) -> dict[str, str]:
    whole = {write_query(prompt.turns).strip(): prompt.id for prompt in prompts}
    last = Counter(prompt.turns[-1].content.strip() for prompt in prompts)
    ends = {prompt.turns[-1].content.strip(): prompt.id for prompt in prompts}
    return {text: prompt for text, prompt in ends.items() if last[text] == 1} | whole
