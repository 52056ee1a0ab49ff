"""Finds the answers that have more tokens than the method's `max_completion_tokens`. The method cuts these answers."""

from __future__ import annotations

from collections.abc import Sequence

from preflab.errors import UserError
from preflab.models.lm import LanguageModel
from preflab.text import counted
from preflab.types import Completion


def cut_answers(lm: LanguageModel, answers: Sequence[Completion], limit: int) -> list[list[int]]:
    """Returns the first `limit` token ids of each answer that has more than `limit` tokens. Leaves out the other
    answers."""
    unsure = [answer for answer in answers if not _surely_fits(lm, answer, limit)]
    ids = [lm.drawn_ids(answer) or lm.encode_completion(answer) for answer in unsure]
    return [each[:limit] for each in ids if len(each) > limit]


def is_same_after_cut(answers: Sequence[Completion], cuts: Sequence[list[int]]) -> bool:
    """Returns True if the answers of a row differ, but are all the same once they are cut. `cuts`: the result of
    `cut_answers` for these answers."""
    if len(answers) < 2 or len(cuts) < len(answers):
        return False
    return all(ids == cuts[0] for ids in cuts) and len({answer.text for answer in answers}) > 1


def describe_cuts(cut: int, answers: str, limit: int, *, same: int, left: int) -> str:
    """Returns a note that says how many answers are cut; '' if no answer is cut. `cut`: the number of answers that are
    cut. `answers`: a phrase with the number of all answers and their source, such as "12 answers of FILE". `limit`: the
    number of tokens that a cut answer keeps. `same`: the number of rows that were left out because the cut makes their
    answers the same. `left`: the number of rows that remain. Raises `UserError` if rows were left out and no row
    remains."""
    if not cut:
        return ""
    note = f"{cut} of {answers} are cut after {limit} tokens"
    if not same:
        return f"{note}."
    note += f"; in {same} of {counted(same + left, 'row')} all answers are the same after the cut"
    if not left:
        raise UserError(f"{note}. Nothing can be learned from equal answers. Raise `max_completion_tokens`.")
    return f"{note}, and these rows were left out."


def _surely_fits(lm: LanguageModel, answer: Completion, limit: int) -> bool:
    """Returns True if the answer has at most `limit` bytes. The answer then has at most `limit` tokens, because a token
    has at least one byte. Returns False for an answer whose sampled token ids are known (`drawn`), because the method
    cuts these ids and not the text."""
    text = lm.form.prefix + answer.text + lm.form.suffix
    return answer.drawn is None and len(text.encode()) + len(lm.closing) <= limit
