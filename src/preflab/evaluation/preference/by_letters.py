"""A preference judge that uses a local language model. The question calls the two answers A and B. The judge chooses
the letter to which the model gives the higher probability. A local model is slow, so its replies are kept on the disk,
like the replies of an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from preflab.batch import collate
from preflab.errors import UserError
from preflab.evaluation.preference.base import PairVerdict, PreferenceJudge, PreferenceQuestion
from preflab.evaluation.preference.orders import Letter, OrderReply, ShownPair, ask_both_orders
from preflab.evaluation.preference.replies import ModelReply, ReplyCache, make_key
from preflab.evaluation.preference.template import Template
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.types import Completion, Prompt, Turn

TOKENS = 8192
"""The largest number of tokens in a forward pass."""
KEPT_AT_ONCE = 16
"""The number of replies that are computed together and then written to the disk: both orders of eight pairs."""


class LetterJudge(PreferenceJudge):
    """Compares the probability that the model's reply begins with the letter A and the probability that it begins with
    the letter B. Chooses the answer whose letter has the higher probability. The model does not write text, so a reply
    is unreadable only if the two probabilities are equal.

    `cache`: the replies of this model, by the question's token ids. The cache must contain only replies of the model's
    present weights.
    """

    def __init__(self, lm: LanguageModel, template: Template, cache: ReplyCache) -> None:
        self.lm = lm
        self.cache = cache
        self.template = template
        self.common, self.letters = split_letters(
            *(lm.encode_completion(Completion(name, truncated=True)) for name in "AB")
        )

    def compare(self, questions: Sequence[PreferenceQuestion]) -> list[PairVerdict]:
        return ask_both_orders(questions, self._ask)

    def _ask(self, pairs: Sequence[ShownPair]) -> list[OrderReply]:
        prompts = [Prompt(pair.question.pair, (Turn("user", self.template.fill(pair)),)) for pair in pairs]
        rows = [[*self.lm.encode_prompt(prompt), *self.common] for prompt in prompts]
        for pair, ids in zip(pairs, rows, strict=True):
            if len(ids) >= self.lm.context:
                raise UserError(
                    f"The question about prompt {pair.question.prompt.id!r} has {len(ids)} tokens, but the context of the "
                    f"judge is {self.lm.context} tokens. Choose a judge with a longer context, or compare shorter answers."
                )
        keys = [make_key([ids, self.letters]) for ids in rows]
        todo = {key: ids for key, ids in zip(keys, rows, strict=True) if self.cache.get(key) is None}
        rest = list(todo.items())
        for start in range(0, len(rest), KEPT_AT_ONCE):
            part = rest[start : start + KEPT_AT_ONCE]
            for (key, _), gap in zip(part, self._measure_gaps([ids for _, ids in part]), strict=True):
                self.cache.add(key, ModelReply(repr(gap)))
        gaps = [float(self.cache.replies[key].text) for key in keys]
        return [OrderReply(_pick_letter(gap), f"log P(A) - log P(B) = {gap:.4f}") for gap in gaps]

    def _measure_gaps(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """Returns log P(A) - log P(B) for the next token after each row of token ids."""
        batch = collate(rows, [self.letters[:1]] * len(rows))
        logprobs = forward.by_micro_batch(self.lm.model, self._letter_logprobs, batch, TOKENS).double()
        return (logprobs[:, 0] - logprobs[:, 1]).tolist()

    def _letter_logprobs(self, rows: Any) -> Tensor:
        """Returns the log-probabilities of the two tokens that distinguish the letters A and B: [B,2]."""
        return forward.full_logprobs(self.lm.model, rows)[:, list(self.letters)]


def split_letters(first: Sequence[int], second: Sequence[int]) -> tuple[list[int], tuple[int, int]]:
    """Compares the two sequences of token ids that encode the letters A and B. Returns the ids at the beginning that
    both sequences share, such as the id of a space, and the first ids at which the two sequences differ."""
    place = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    if place is None:
        raise UserError("The judge's tokenizer does not distinguish the letters A and B. Choose another judge.")
    return list(first[:place]), (first[place], second[place])


def _pick_letter(gap: float) -> Letter | None:
    return "A" if gap > 0 else "B" if gap < 0 else None
