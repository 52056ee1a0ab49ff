"""Handles answers that a chat template writes in another way, such as an answer with reasoning of its own.

The prompt's ids hold the form's header, such as an empty block of reasoning. A template that moves the reasoning of an
answer into this block, drops it, or replaces or cuts characters writes another text than the header and the answer.
Such an answer can be encoded only as a part of the template's own rendering of the whole dialogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from preflab.errors import UserError
from preflab.models.chat import encode_text, mark_control, render
from preflab.models.hub import first_line
from preflab.models.lm import LanguageModel
from preflab.models.template import ANSWER, QUESTION
from preflab.types import Completion, Prompt, Turn


def is_rewritten(lm: LanguageModel, turns: Sequence[Turn], answer: str) -> bool:
    """Returns whether the template writes another text than its header and the answer after the turns. White space
    around the answer does not count, since some templates trim it. The template may raise any exception."""
    whole = render(lm.tokenizer, lm.form, [*turns, Turn("assistant", answer)], ask=False)
    asked = render(lm.tokenizer, lm.form, turns, ask=True) + lm.form.header
    return not (whole.startswith(asked) and whole[len(asked) :].lstrip().startswith(answer.strip()))


def encode_to_score(lm: LanguageModel, prompt: Prompt, answer: Completion) -> tuple[list[int], list[int]]:
    """Returns the ids of prompt and answer at whose last token a reward model computes its score. An answer that the
    template writes in another way has the ids of the template's own rendering. Raises `UserError` if the template does
    not accept the prompt, or not this answer."""
    prompt_ids = lm.encode_prompt(prompt)
    safe = [Turn(turn.role, mark_control(lm.form, turn.content)) for turn in prompt.turns]
    text = mark_control(lm.form, answer.text)
    try:
        if is_rewritten(lm, safe, text):
            return encode_rendering(lm, safe, text, ended=not answer.truncated)
    except Exception as error:  # the template of a downloaded model may raise any exception
        raise UserError(
            f"The reward model's chat template does not accept an answer to prompt {prompt.id!r}: {first_line(error)}"
        ) from error
    end = [lm.end_ids[0]]  # used for a truncated answer without any text, since a row needs a token
    return prompt_ids, lm.encode_completion(answer) or end


def encode_rendering(
    lm: LanguageModel, turns: Sequence[Turn], answer: str, *, ended: bool
) -> tuple[list[int], list[int]]:
    """Returns the ids of the template's rendering of the whole dialogue, up to the end of the answer. The first part
    has the ids that are also those of the prompt with the generation prompt. `turns`, `answer`: with the names of
    control tokens marked."""
    whole = render(lm.tokenizer, lm.form, [*turns, Turn("assistant", answer)], ask=False)
    behind = render(lm.tokenizer, lm.form, [QUESTION, ANSWER], ask=False).rpartition(ANSWER.content)[2]
    text = whole.removesuffix(behind) + (lm.form.suffix if ended else "")
    ids = encode_text(lm.tokenizer, text, marked=True) + list(lm.closing if ended else ())
    asked = encode_text(lm.tokenizer, render(lm.tokenizer, lm.form, turns, ask=True), marked=True)
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(ids[:-1], asked, strict=False))))
    return ids[:shared], ids[shared:]
