"""The language model that all other packages use: weights, tokenizer, end ids, and the conversion between text and ids.

Every `Prompt` is rendered by the tokenizer's chat template. The model `tiny` has its own template, and a base model
without a template gets a plain "Human / Assistant" template. Prompt and completion are encoded separately: the ids of
prompt and answer always begin with the prompt's ids, and only the template writes a BOS token. See `models.chat`.
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
from preflab.models.facts import SavedFacts, ScoreRole, write_facts
from preflab.types import Completion, DrawnIds, Prompt


@dataclass(frozen=True)
class LanguageModel:
    """A model with its tokenizer.

    model: a causal LM of transformers, or a sequence classifier for a reward model; either may be wrapped by peft.
    end_ids: every id that ends a turn; the first of these ids is written at the end of an answer.
    pad_id: the id of the padding token, which differs from all `end_ids`.
    context: the largest number of tokens that prompt and answer may have together.
    notices: sentences that every report on this model must show.
    form: describes what the chat template writes before and after an answer.
    role: what a higher score means, for a model that scores answers.
    """

    model: Any
    tokenizer: Any
    end_ids: tuple[int, ...]
    pad_id: int
    context: int
    notices: tuple[str, ...] = ()
    form: ChatForm = field(default_factory=ChatForm)
    role: ScoreRole = ""

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Returns the prompt's ids up to the beginning of the answer, with a BOS token if the chat template writes one.

        Raises `UserError` if the chat template refuses the dialogue, for example because of a system turn or of two
        user turns in a row.
        """
        try:
            return encode_prompt(self.tokenizer, self.form, prompt.turns)
        except Exception as error:  # the template of a downloaded model may raise any exception
            raise UserError(f"The model's chat template does not accept prompt {prompt.id!r}: {error}") from error

    def encode_completion(self, completion: Completion) -> list[int]:
        """Returns the ids of the answer's text and of the end-of-turn token; a truncated answer has no such token."""
        ids = encode_answer(self.tokenizer, self.form, completion.text, ended=not completion.truncated)
        return ids if completion.truncated else [*ids, *self.closing]

    def encode(self, prompt: Prompt, answer: Completion, limit: int) -> Encoded:
        """Returns the ids of prompt and answer. If a policy with this vocabulary drew the answer, the originally drawn
        ids are returned. The answer is cut after `limit` tokens; an answer that was cut has no end-of-turn token.

        A truncated answer without text is encoded as the end-of-turn token, since a row needs at least one token.
        Raises `UserError` if prompt and answer exceed the model's context.
        """
        prompt_ids = self.encode_prompt(prompt)
        answer_ids = self.drawn_ids(answer) or self.encode_completion(answer) or [self.end_ids[0]]
        kept = answer_ids[:limit]
        self.check_fits(prompt, prompt_ids, len(kept))
        return Encoded(prompt_ids, kept, answer.truncated or len(answer_ids) > limit)

    def drawn_ids(self, answer: Completion) -> list[int]:
        """Returns the drawn ids of an answer if a policy with this vocabulary drew it; returns an empty list for any
        other answer."""
        if answer.drawn is None or answer.drawn.vocabulary != digest_vocabulary(self.tokenizer):
            return []
        ids = list(answer.drawn.ids)
        return ids if answer.truncated or self.form.closing is None else [*ids[:-1], *self.form.closing]

    def decode(self, ids: Sequence[int], *, truncated: bool) -> Completion:
        """Returns the answer for drawn ids. The answer has the text without the end-of-turn token, and the ids
        themselves."""
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
        """The ids that end an answer: `form.closing`, or the first end id if `form.closing` is None."""
        return self.end_ids[:1] if self.form.closing is None else self.form.closing

    @property
    def size(self) -> int:
        """The number of parameters; tied parameters are counted once. The compute that is charged for a token is
        proportional to this number."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def check_fits(self, prompt: Prompt, ids: Sequence[int], new_tokens: int) -> None:
        """Raises `UserError` if a prompt and an answer of `new_tokens` tokens exceed the model's context."""
        if len(ids) + new_tokens > self.context:
            raise UserError(
                f"Prompt {prompt.id!r} has {len(ids)} tokens and its answer up to {new_tokens}; the model's context is "
                f"{self.context}. Shorten the prompt, or lower the number of new tokens."
            )

    def with_model(self, model: nn.Module) -> LanguageModel:
        """Returns a copy with `model` in place of the present model, and with the same tokenizer and ids."""
        return replace(self, model=model)

    def save(self, directory: Path) -> None:
        """Writes the tokenizer, the chat template, and the weights as safetensors, with any adapters merged.
        transformers can load the directory without preflab. The adapters are also written separately, in peft's
        format, to the folder `adapter` inside the directory."""
        lora.save_plain(self.model, directory)
        self._save_words(directory)
        if lora.is_adapted(self.model):
            lora.save_adapters(self.model, directory / lora.ADAPTER)
            self._save_words(directory / lora.ADAPTER)

    def _save_words(self, directory: Path) -> None:
        """Writes the tokenizer, and the facts that preflab needs to load the saved model with the same settings."""
        self.tokenizer.save_pretrained(directory)
        date, closing = self.form.date, self.form.closing
        write_facts(directory, SavedFacts(notices=self.notices, date=date, closing=closing, role=self.role))
