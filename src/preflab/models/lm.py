"""Defines the language model that all other packages use. It contains the weights, the tokenizer and the end ids, and
converts between text and token ids.

The tokenizer's chat template renders every `Prompt`. The model `tiny` has a special template. A base model without a
template gets a plain "Human / Assistant" template. Prompt and completion are encoded separately, so a dialogue's ids
always begin with the prompt's ids. Only the template writes a BOS token. See `models.chat`.
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

    model: a causal LM of transformers, or a sequence classifier for a reward model. Both can be wrapped by peft.
    end_ids: all ids that end a turn. The first of these ids is appended to an answer.
    pad_id: the id of the padding token. It differs from all `end_ids`.
    context: the largest total number of tokens in a prompt and its answer.
    notices: sentences that every report on this model must show.
    form: the text that the chat template writes before and after an answer.
    role: the meaning of a higher score, if the model scores answers.
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
        """Returns the ids of a prompt up to the beginning of the answer. They include a BOS token if the chat template
        writes a BOS token.

        Raises `UserError` if the chat template refuses the dialogue. Some templates refuse a system turn, for example,
        or two consecutive user turns.
        """
        try:
            return encode_prompt(self.tokenizer, self.form, prompt.turns)
        except Exception as error:  # the template of a downloaded model can raise any exception
            raise UserError(f"The model's chat template does not accept prompt {prompt.id!r}: {error}") from error

    def encode_completion(self, completion: Completion) -> list[int]:
        """Returns the ids of an answer's text, followed by the ids that end an answer. For a truncated answer, the ids
        that end an answer are left out."""
        ids = encode_answer(self.tokenizer, self.form, completion.text, ended=not completion.truncated)
        return ids if completion.truncated else [*ids, *self.closing]

    def encode(self, prompt: Prompt, answer: Completion, limit: int) -> Encoded:
        """Returns the ids of prompt and answer. If a policy with the same vocabulary drew the answer, the answer's ids
        are the ids that this policy drew. The answer is cut after `limit` tokens. An answer that was cut has no
        end-of-turn token.

        A truncated answer without text is encoded as the end-of-turn token, because a row needs at least one token.
        Raises `UserError` if prompt and answer exceed the model's context.
        """
        prompt_ids = self.encode_prompt(prompt)
        answer_ids = self.drawn_ids(answer) or self.encode_completion(answer) or [self.end_ids[0]]
        kept = answer_ids[:limit]
        self.check_fits(prompt, prompt_ids, len(kept))
        return Encoded(prompt_ids, kept, answer.truncated or len(answer_ids) > limit)

    def drawn_ids(self, answer: Completion) -> list[int]:
        """Returns the ids that a policy drew for an answer, if this policy has the same vocabulary. Returns an empty
        list for any other answer."""
        if answer.drawn is None or answer.drawn.vocabulary != digest_vocabulary(self.tokenizer):
            return []
        ids = list(answer.drawn.ids)
        return ids if answer.truncated or self.form.closing is None else [*ids[:-1], *self.form.closing]

    def decode(self, ids: Sequence[int], *, truncated: bool) -> Completion:
        """Returns the answer that a policy drew as `ids`. The answer contains the decoded text without the end-of-turn
        token, and the drawn ids. `truncated`: whether the answer ended without an end-of-turn token."""
        kept = list(ids) if truncated else list(ids)[:-1]
        text = decode_answer(self.tokenizer, self.form, kept, ended=not truncated)
        return Completion(text, truncated, DrawnIds(tuple(ids), digest_vocabulary(self.tokenizer)))

    def completions(self, batch: TokenBatch) -> list[Completion]:
        """Returns the completion of every row of a batch, decoded to text."""
        completions, lengths = batch.completion_ids.tolist(), batch.completion_lengths.tolist()
        rows = zip(completions, lengths, batch.truncated.tolist(), strict=True)
        return [self.decode(ids[:length], truncated=truncated) for ids, length, truncated in rows]

    @property
    def closing(self) -> tuple[int, ...]:
        """The ids that are appended to an answer: `form.closing`, or the first end id if `form.closing` is None."""
        return self.end_ids[:1] if self.form.closing is None else self.form.closing

    @property
    def size(self) -> int:
        """The number of parameters of the model. Tied parameters are counted once. The compute cost of a token is
        recorded as proportional to this number."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def check_fits(self, prompt: Prompt, ids: Sequence[int], new_tokens: int) -> None:
        """Raises `UserError` if a prompt with these ids and an answer of `new_tokens` tokens exceed the model's
        context."""
        if len(ids) + new_tokens > self.context:
            raise UserError(
                f"Prompt {prompt.id!r} has {len(ids)} tokens and its answer up to {new_tokens}. The model's context is "
                f"{self.context}. Shorten the prompt, or lower the number of new tokens."
            )

    def with_model(self, model: nn.Module) -> LanguageModel:
        """Returns a copy of this language model that contains `model` instead of `self.model`. The tokenizer and all
        other fields are the same."""
        return replace(self, model=model)

    def save(self, directory: Path) -> None:
        """Writes the tokenizer, the chat template and the weights (as safetensors) to a directory. transformers can
        load this directory without preflab. If the model has adapters, they are merged into the written weights. The
        adapters are also written in peft's format to the folder `adapter` inside the directory."""
        lora.save_plain(self.model, directory)
        self._save_words(directory)
        if lora.is_adapted(self.model):
            lora.save_adapters(self.model, directory / lora.ADAPTER)
            self._save_words(directory / lora.ADAPTER)

    def _save_words(self, directory: Path) -> None:
        """Writes the tokenizer to a directory. Also writes the facts that preflab needs to load the saved model with
        the same settings."""
        self.tokenizer.save_pretrained(directory)
        date, closing = self.form.date, self.form.closing
        write_facts(directory, SavedFacts(notices=self.notices, date=date, closing=closing, role=self.role))
