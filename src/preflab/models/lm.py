"""A language model for all layers above: its weights, its tokenizer, the ids that end a turn, and the way between text and
ids.

The tokenizer's chat template renders the prompt (`tiny` has its own template; a base model without a template gets the plain
"Human / Assistant" form), so that there is one path from a `Prompt` to ids. The prompt and the completion are encoded apart:
the prompt's ids are a prefix of prompt + answer for every answer, and the only BOS is the one that the template writes. See
`models.chat`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from preflab.batch import Encoded, TokenBatch
from preflab.errors import UserError
from preflab.models import lora
from preflab.models.chat import ChatForm, decode_answer, digest_vocabulary, encode_answer, encode_prompt
from preflab.models.facts import SavedFacts, write_facts
from preflab.types import Completion, DrawnIds, Prompt


@dataclass(frozen=True)
class LanguageModel:
    """A model with its tokenizer.

    model: a causal LM of transformers (perhaps under peft), or the classifier of a reward model.
    end_ids: every id that ends a turn; the first of them is written at the end of an answer.
    pad_id: the id of padding, which differs from all `end_ids`.
    context: the largest number of tokens of prompt and answer together.
    notices: sentences that every report on this model must show.
    form: how the chat template frames an answer.
    """

    model: Any
    tokenizer: Any
    end_ids: tuple[int, ...]
    pad_id: int
    context: int
    notices: tuple[str, ...] = ()
    form: ChatForm = field(default_factory=ChatForm)

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Returns the prompt's ids up to the beginning of the answer, with BOS if the model has one.

        Raises `UserError` if the chat template refuses the dialogue (a system turn, two user turns in a row).
        """
        try:
            return encode_prompt(self.tokenizer, self.form, prompt.turns)
        except Exception as error:  # a template from elsewhere may raise anything
            raise UserError(f"The model's chat template does not take prompt {prompt.id!r}: {error}") from error

    def encode_completion(self, completion: Completion) -> list[int]:
        """Returns the ids of the answer's text and of the end-of-turn token; a truncated answer has no end-of-turn token."""
        ids = encode_answer(self.tokenizer, self.form, completion.text, ended=not completion.truncated)
        return ids if completion.truncated else [*ids, *self.closing]

    def encode(self, prompt: Prompt, answer: Completion, limit: int) -> Encoded:
        """Returns the ids of prompt and answer. If a policy of this vocabulary drew the answer, the answer's ids are those
        that were drawn. The answer is cut after `limit` tokens; an answer that was cut has no end-of-turn token.

        A truncated answer without text is the end-of-turn token alone, since a row needs a token. Raises `UserError` if
        prompt and answer do not fit the model's context.
        """
        prompt_ids = self.encode_prompt(prompt)
        answer_ids = self._drawn_ids(answer) or self.encode_completion(answer) or [self.end_ids[0]]
        kept = answer_ids[:limit]
        self.check_fits(prompt, prompt_ids, len(kept))
        return Encoded(prompt_ids, kept, answer.truncated or len(answer_ids) > limit)

    def decode(self, ids: Sequence[int], *, truncated: bool) -> Completion:
        """Returns the answer made of drawn ids: their text, without the end-of-turn token, and the ids themselves."""
        kept = list(ids) if truncated else list(ids)[:-1]
        text = decode_answer(self.tokenizer, self.form, kept, ended=not truncated)
        return Completion(text, truncated, DrawnIds(tuple(ids), digest_vocabulary(self.tokenizer)))

    def completions(self, batch: TokenBatch) -> list[Completion]:
        """Returns the completion of every row as text."""
        completions, lengths = batch.completion_ids.tolist(), batch.completion_lengths.tolist()
        rows = zip(completions, lengths, batch.truncated.tolist(), strict=True)
        return [self.decode(ids[:length], truncated=truncated) for ids, length, truncated in rows]

    @property
    def closing(self) -> tuple[int, ...]:
        """The ids that close an answer."""
        return self.end_ids[:1] if self.form.closing is None else self.form.closing

    @property
    def size(self) -> int:
        """The number of parameters, tied parameters counted once: the N in the compute that a token costs."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def check_fits(self, prompt: Prompt, ids: Sequence[int], new_tokens: int) -> None:
        """Raises `UserError` if a prompt and an answer of `new_tokens` do not fit the model's context."""
        if len(ids) + new_tokens > self.context:
            raise UserError(
                f"Prompt {prompt.id!r} has {len(ids)} tokens and its answer up to {new_tokens}; the model's context is "
                f"{self.context}. Shorten the prompt, or lower the number of new tokens."
            )

    def with_model(self, model: nn.Module) -> LanguageModel:
        """Returns a language model with the same tokenizer and ids, and with other weights."""
        return replace(self, model=model)

    def save(self, directory: Path) -> None:
        """Writes safetensors weights with the adapters merged, the tokenizer and the chat template. Plain transformers opens
        the directory. The adapters are also written, in peft's format, to the folder `adapter` of the directory."""
        lora.save_plain(self.model, directory)
        self._save_words(directory)
        if lora.is_adapted(self.model):
            lora.save_adapters(self.model, directory / lora.ADAPTER)
            self._save_words(directory / lora.ADAPTER)

    def _save_words(self, directory: Path) -> None:
        """Writes the tokenizer, and the facts that preflab needs to open the saved model as it was."""
        self.tokenizer.save_pretrained(directory)
        write_facts(directory, SavedFacts(notices=self.notices, date=self.form.date, closing=self.form.closing))

    def _drawn_ids(self, answer: Completion) -> list[int]:
        """Returns the ids of an answer that a policy of this vocabulary drew; an empty list for any other answer."""
        if answer.drawn is None or answer.drawn.vocabulary != digest_vocabulary(self.tokenizer):
            return []
        ids = list(answer.drawn.ids)
        return ids if answer.truncated or self.form.closing is None else [*ids[:-1], *self.form.closing]
