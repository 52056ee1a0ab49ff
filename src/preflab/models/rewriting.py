"""Handles answers that a chat template changes, such as an answer that contains reasoning.

The prompt's ids include the header of the `ChatForm`, such as an empty block of reasoning. Some templates move the
reasoning of an answer into this block, or remove the reasoning. Other templates replace or cut characters. The rendered
text then differs from the header followed by the answer. Such an answer can be encoded only together with its prompt,
from the template's rendering of the whole dialogue.
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
    """Checks whether the chat template changes an answer. The template leaves an answer unchanged if it writes the
    header and then the answer after the generation prompt. White space around the answer is ignored, because some
    templates trim it. The template can raise any exception."""
    whole = render(lm.tokenizer, lm.form, [*turns, Turn("assistant", answer)], ask=False)
    question = render(lm.tokenizer, lm.form, turns, ask=True) + lm.form.header
    return not (whole.startswith(question) and whole[len(question) :].lstrip().startswith(answer.strip()))


def encode_to_score(lm: LanguageModel, prompt: Prompt, answer: Completion) -> tuple[list[int], list[int]]:
    """Returns the ids of a prompt and of an answer for a reward model. The reward model computes its score at the last
    of these ids. If the template changes the answer, the ids are read from the template's rendering of the whole
    dialogue. Raises `UserError` if the template does not accept the prompt or the answer."""
    prompt_ids = lm.encode_prompt(prompt)
    safe = [Turn(turn.role, mark_control(lm.form, turn.content)) for turn in prompt.turns]
    text = mark_control(lm.form, answer.text)
    try:
        if is_rewritten(lm, safe, text):
            return encode_rendering(lm, safe, text, ended=not answer.truncated)
    except Exception as error:  # the template of a downloaded model can raise any exception
        raise UserError(
            f"The reward model's chat template does not accept an answer to prompt {prompt.id!r}: {first_line(error)}"
        ) from error
    end = [lm.end_ids[0]]  # used for a truncated answer without text, because a row needs at least one token
    return prompt_ids, lm.encode_completion(answer) or end


def encode_rendering(
    lm: LanguageModel, turns: Sequence[Turn], answer: str, *, ended: bool
) -> tuple[list[int], list[int]]:
    """Returns two lists of ids, which together encode the template's rendering of the whole dialogue up to the end of
    the answer. The first list contains the ids at the start of this rendering that equal the ids of the prompt with its
    generation prompt, up to the first difference. The second list contains all other ids of the rendering, at least one
    id. The names of control tokens must be marked in `turns` and in `answer`."""
    whole = render(lm.tokenizer, lm.form, [*turns, Turn("assistant", answer)], ask=False)
    behind = render(lm.tokenizer, lm.form, [QUESTION, ANSWER], ask=False).rpartition(ANSWER.content)[2]
    text = whole.removesuffix(behind) + (lm.form.suffix if ended else "")
    ids = encode_text(lm.tokenizer, text, marked=True) + list(lm.closing if ended else ())
    prompt_ids = encode_text(lm.tokenizer, render(lm.tokenizer, lm.form, turns, ask=True), marked=True)
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(ids[:-1], prompt_ids, strict=False))))
    return ids[:shared], ids[shared:]
