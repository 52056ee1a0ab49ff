"""A language model for all layers above: weights, tokenizer, the ids that end a turn, and the way between text and ids.

The tokenizer's chat template always renders the prompt (`tiny` has its own; a base model without one gets the plain
"Human / Assistant" form), so that there is one path from a `Prompt` to ids. Prompt and completion are encoded apart: the
prompt's ids are a prefix of prompt + answer for every answer, and there is exactly one BOS, that of the template. A part of
an answer that looks like a special token is encoded as text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from preflab.batch import Encoded, TokenBatch
from preflab.errors import UserError
from preflab.models import lora
from preflab.types import Completion, Prompt

PLAIN_TEMPLATE = (
    "{{ bos_token or '' }}{% for m in messages %}"
    "{{ '\\n\\nAssistant: ' if m.role == 'assistant' else '\\n\\nHuman: ' }}{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n\\nAssistant:' }}{% endif %}"
)
NOTICES_FILE = "preflab.json"  # beside saved weights: the notices that every report on them must show


@dataclass(frozen=True)
class LanguageModel:
    """A model with its tokenizer.

    model: a causal LM of transformers (perhaps under peft), or the classifier of a reward model.
    end_ids: every id that ends a turn; the first one is written at the end of an answer.
    pad_id: differs from all `end_ids`.
    context: the most tokens of prompt and answer together.
    notices: sentences that every report on this model must show.
    answer_prefix: what the template writes between the end of the prompt and the text of the answer (a space after
        "Assistant:"); it belongs to the answer's ids and not to its text.
    """

    model: Any
    tokenizer: Any
    end_ids: tuple[int, ...]
    pad_id: int
    context: int
    notices: tuple[str, ...] = ()
    answer_prefix: str = ""

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """The prompt's ids up to the beginning of the answer, with BOS where the model has one.

        Raises `UserError` where the chat template refuses the dialogue (a system turn, two user turns in a row).
        """
        messages = [{"role": turn.role, "content": turn.content} for turn in prompt.turns]
        try:
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template from elsewhere may raise anything
            raise UserError(f"The model's chat template does not take prompt {prompt.id!r}: {error}") from error
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def encode_completion(self, completion: Completion) -> list[int]:
        """The answer's ids with the end-of-turn token; a truncated answer has none."""
        text = self.answer_prefix + completion.text if completion.text else ""
        ids = list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)
        return ids if completion.truncated else [*ids, self.end_ids[0]]

    def encode(self, prompt: Prompt, answer: Completion, limit: int) -> Encoded:
        """The ids of prompt and answer. The answer is cut after `limit` tokens, and then has no end-of-turn token.

        A truncated answer without text is the end-of-turn token alone, since a row needs a token. Raises `UserError`
        where prompt and answer do not fit the model's context.
        """
        prompt_ids = self.encode_prompt(prompt)
        answer_ids = self.encode_completion(answer) or [self.end_ids[0]]
        kept = answer_ids[:limit]
        self.check_fits(prompt, prompt_ids, len(kept))
        return Encoded(prompt_ids, kept, answer.truncated or len(answer_ids) > limit)

    def decode(self, ids: Sequence[int], *, truncated: bool) -> Completion:
        """The answer's text, without its end-of-turn token."""
        kept = list(ids) if truncated else list(ids)[:-1]
        text = self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Completion(text.removeprefix(self.answer_prefix), truncated)

    def completions(self, batch: TokenBatch) -> list[Completion]:
        """The completion of every row as text."""
        completions, lengths = batch.completion_ids.tolist(), batch.completion_lengths.tolist()
        rows = zip(completions, lengths, batch.truncated.tolist(), strict=True)
        return [self.decode(ids[:length], truncated=truncated) for ids, length, truncated in rows]

    @property
    def size(self) -> int:
        """The number of parameters, tied ones counted once: the N in the compute that a token costs."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def check_fits(self, prompt: Prompt, ids: Sequence[int], new_tokens: int) -> None:
        """Raises `UserError` where a prompt and an answer of `new_tokens` do not fit the model's context."""
        if len(ids) + new_tokens > self.context:
            raise UserError(
                f"Prompt {prompt.id!r} has {len(ids)} tokens and its answer up to {new_tokens}; the model's context is "
                f"{self.context}. Shorten the prompt, or lower the number of new tokens."
            )

    def with_model(self, model: nn.Module) -> LanguageModel:
        """The same tokenizer and ids with other weights."""
        return replace(self, model=model)

    def save(self, directory: Path) -> None:
        """Writes safetensors weights with the adapters merged, tokenizer and chat template. Plain transformers opens the
        directory."""
        lora.save_plain(self.model, directory)
        self.tokenizer.save_pretrained(directory)
        if self.notices:
            write_notices(directory, self.notices)


def write_notices(directory: Path, notices: Sequence[str]) -> None:
    """Writes the notices beside saved weights, where `read_notices` finds them."""
    (directory / NOTICES_FILE).write_text(json.dumps({"notices": list(notices)}, indent=1) + "\n", encoding="utf-8")


def read_notices(directory: Path) -> tuple[str, ...]:
    """The notices that were saved with the weights; empty where there are none."""
    path = directory / NOTICES_FILE
    return tuple(json.loads(path.read_text(encoding="utf-8"))["notices"]) if path.exists() else ()
