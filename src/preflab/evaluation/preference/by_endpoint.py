"""A preference judge that is a model behind an OpenAI-compatible endpoint. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from preflab.evaluation.preference.base import PairVerdict, PreferenceJudge, PreferenceQuestion
from preflab.evaluation.preference.endpoint import Endpoint
from preflab.evaluation.preference.estimate import CallEstimate
from preflab.evaluation.preference.orders import OrderReply, ShownPair, ask_both_orders, both_orders
from preflab.evaluation.preference.reading import read_letter
from preflab.evaluation.preference.template import Template


class EndpointJudge(PreferenceJudge):
    """Asks the model at temperature 0. The model first writes a sentence that compares the answers, and then the letter
    of the better answer."""

    def __init__(self, endpoint: Endpoint, template: Template) -> None:
        self.endpoint = endpoint
        self.template = template

    def compare(self, questions: Sequence[PreferenceQuestion]) -> list[PairVerdict]:
        return ask_both_orders(questions, self._ask)

    def estimate(self, questions: Sequence[PreferenceQuestion]) -> CallEstimate:
        return self.endpoint.estimate([self._body(pair) for pair in both_orders(questions)])

    def check_caps(self, estimate: CallEstimate) -> None:
        self.endpoint.check_caps(estimate)

    def _ask(self, pairs: Sequence[ShownPair]) -> list[OrderReply]:
        replies = self.endpoint.ask([self._body(pair) for pair in pairs])
        return [OrderReply(read_letter(reply.text, cut=reply.cut), reply.text) for reply in replies]

    def _body(self, pair: ShownPair) -> dict[str, Any]:
        messages = [{"role": "user", "content": self.template.fill(pair)}]
        return self.endpoint.make_body(messages, temperature=0, max_tokens=self.endpoint.max_tokens)
