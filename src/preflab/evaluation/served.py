"""A policy that a server runs: preflab sends it prompts and receives answers. Its weights, its log-probabilities and its
compute are not known.

The server speaks OpenAI's protocol, as OpenAI, vLLM, SGLang, Ollama and others do. This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from preflab.errors import UserError
from preflab.evaluation.preference.endpoint import Endpoint, EndpointSettings
from preflab.evaluation.settings import Evaluation
from preflab.types import Completion, Prompt

if TYPE_CHECKING:
    from preflab.sampling.base import Decoding

SERVED = "openai:"
"""The prefix of a policy such as `openai:MODEL`, which means the model MODEL behind an endpoint."""
NO_OWN_ITEMS = (
    "An evaluator that measures a policy on its own items needs the policy's model, but a served policy only answers. "
    "Leave the evaluator out, or give the directory of the policy."
)
Api = Literal["chat", "completions"]


class ServedSettings(EndpointSettings):
    """The settings of the server of a policy. api: how the server is asked: for `chat` completions, so that the server
    applies the model's chat template, or for plain `completions`, which continue the prompt's text as it is. cache: the
    directory in which replies are kept; '' for the folder `replies` of the run."""

    api: Api = "chat"

    @property
    def host(self) -> str:
        """The host of the server, with its port if the address has one, such as `localhost:8000`."""
        return urlsplit(self.base_url).netloc


@dataclass(frozen=True)
class ServedAnswers:
    """The answers of a served policy, one for each prompt of the request. tokens_in, tokens_out: for each answer, the
    numbers of tokens of the prompt and of the answer, as the server reports them; None if the server reports no
    numbers."""

    completions: Sequence[Completion]
    tokens_in: Sequence[int] | None
    tokens_out: Sequence[int] | None


@dataclass(frozen=True)
class ServedPolicy:
    """A policy behind an endpoint. api: see `ServedSettings`."""

    endpoint: Endpoint
    api: Api = "chat"

    def answer(self, prompts: Sequence[Prompt], *, seeds: Sequence[int], decoding: Decoding) -> ServedAnswers:
        """Asks for one answer to each prompt. `seeds`: one seed for each prompt, which is sent with the request. A
        reply that is already in the endpoint's cache is not asked for again.

        Raises `UserError` if the server does not answer, refuses a request, or returns nothing but empty answers. Also
        raises `UserError` if plain completions are asked for a dialogue of several turns.
        """
        replies = self.endpoint.ask(self._bodies(prompts, seeds, decoding), seeds)
        if replies and not any(reply.text.strip() for reply in replies):
            raise UserError(
                f"{self.endpoint.label} returned {len(replies)} answers, and all are empty. Check what the server returns "
                "for one prompt. A model that reasons first needs a larger `max_new_tokens`, and a model without a chat "
                "template needs `api: completions`. The replies are kept: repeat the command with --fresh to ask again."
            )
        counted = all(reply.tokens_in and (reply.tokens_out or not reply.text) for reply in replies)
        return ServedAnswers(
            completions=[Completion(reply.text, reply.cut) for reply in replies],
            tokens_in=[reply.tokens_in for reply in replies] if counted else None,
            tokens_out=[reply.tokens_out for reply in replies] if counted else None,
        )

    def estimate(self, prompts: Sequence[Prompt], seeds: Sequence[int], decoding: Decoding) -> str:
        """Returns the number of calls that `answer` would make, and their cost, in words."""
        return self.endpoint.estimate(self._bodies(prompts, seeds, decoding), seeds).describe()

    def _bodies(self, prompts: Sequence[Prompt], seeds: Sequence[int], decoding: Decoding) -> list[dict[str, Any]]:
        return [self._body(prompt, seed, decoding) for prompt, seed in zip(prompts, seeds, strict=True)]

    def _body(self, prompt: Prompt, seed: int, decoding: Decoding) -> dict[str, Any]:
        fields = {
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": seed,
        }
        if self.api == "chat":
            turns = [{"role": turn.role, "content": turn.content} for turn in prompt.turns]
            return self.endpoint.make_body(turns, **fields)
        if len(prompt.turns) != 1:
            raise UserError(
                f"Prompt {prompt.id!r} has {len(prompt.turns)} turns, but a plain completion continues one text. Set "
                "`api: chat`."
            )
        return self.endpoint.make_plain_body(prompt.turns[0].content, **fields)


def count_requests(
    spec: Evaluation, *, test: int, validation: int, measure: Literal["test", "validation", "none"]
) -> int:
    """Returns the largest number of requests that measuring a served policy needs, without repeated requests.

    `test`, `validation`: the numbers of prompts of the splits. On the validation split, `validation_samples` answers to
    each prompt are drawn at each candidate temperature (at temperature 1 if there is a single candidate). On the test
    split, `samples` answers to each prompt are drawn at temperature 1 and at the chosen temperature. If `validation` of
    the settings is true, the validation split is measured as the test split is. Greedy decoding draws one answer.
    """
    if measure == "none":
        return 0
    test, validation = (min(count, spec.prompts or count) for count in (test, validation))
    tried = spec.temperatures if len(spec.temperatures) > 1 else (1.0,)
    choosing = validation * sum(spec.validation_samples if temperature else 1 for temperature in tried)
    if measure == "validation":
        return choosing
    other = max({0.0: 1, 1.0: 0}.get(temperature, spec.samples) for temperature in spec.temperatures)
    return choosing + (spec.samples + other) * (test + (validation if spec.validation else 0))
