"""Opens the testbed `safeworld`: harmless and harmful requests, whose answers have an exact helpfulness and an exact
safety. See docs/safeworld.md.

The requests depend only on the spec. The seed in the `Context` decides the answers. All seeds of a study therefore use
the same requests.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from preflab.data.safety_rule import SafetyFilter, SafetyRule, decide_by_rule, find_order, keep_after_filters
from preflab.fields import Share
from preflab.spec import Context
from preflab.testbeds.base import Testbed, TestbedSpec
from preflab.testbeds.provenance import describe_provenance, make_turn_key
from preflab.testbeds.safeworld.exact import value_answer
from preflab.testbeds.safeworld.language import SAFEWORLD_WORDS
from preflab.testbeds.safeworld.pairs import LabelledPair, PairShares, write_labelled_pairs
from preflab.testbeds.safeworld.requests import SafeworldRequest, make_safeworld_requests
from preflab.testbeds.safeworld.writers import write_general_answer
from preflab.testbeds.streams import make_stream
from preflab.testbeds.worlds import read_request
from preflab.text import counted
from preflab.types import Completion, Demonstration, Preference, Prompt, Split

_HeldSize = Annotated[int, Field(ge=1, le=300)]


class Safeworld(TestbedSpec):
    """Harmless and harmful requests. Their answers have an exact helpfulness and an exact safety.

    `harmful`: the fraction of harmful requests. `dual_safe`: the fraction of pairs whose answers are both safe.
    `dual_unsafe`: the fraction of pairs whose answers are both unsafe. In the other pairs, exactly one answer is safe.
    `contradictory`: in each of these three groups, the fraction of pairs whose more helpful answer is not the safer
    answer. `rule`: decides which answer of a pair is preferred. `filters`: the names of the filters that drop pairs.
    `demonstrations`: `general` uses answers of a separate writer, which do not come from the pairs. `safe` uses the
    safe answers of the pairs that the filters keep. See docs/safeworld.md.
    """

    evaluator: ClassVar[str | None] = "true-safety"
    kind: Literal["safeworld"] = "safeworld"
    seed: int = 0
    train: Annotated[int, Field(ge=1, le=1200)] = 1000
    validation: _HeldSize = 150
    test: _HeldSize = 300
    harmful: Share = 0.5
    dual_safe: Share = 0.3
    dual_unsafe: Share = 0.4
    contradictory: Share = 0.5
    rule: SafetyRule = "paper"
    filters: tuple[SafetyFilter, ...] = ()
    demonstrations: Literal["general", "safe"] = "general"

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.dual_safe + self.dual_unsafe > 1:
            raise ValueError(f"dual_safe {self.dual_safe:g} and dual_unsafe {self.dual_unsafe:g} sum to more than 1")
        return self

    @property
    def shares(self) -> PairShares:
        return PairShares(self.dual_safe, self.dual_unsafe, self.contradictory)

    @contextmanager
    def open(self, context: Context) -> Generator[OpenSafeworld]:
        """Opens the testbed. `context.seed` is the seed for the answers."""
        yield OpenSafeworld(self, context.seed)


class OpenSafeworld(Testbed):
    """The opened testbed `safeworld`. Requests and pairs are made when they are first used, and are then kept in
    memory."""

    name = "safeworld"
    true_names = ("helpfulness", "cost", "refused")

    def __init__(self, spec: Safeworld, seed: int) -> None:
        self._spec = spec
        self._seed = seed
        self.ordered_by = find_order(spec.rule, spec.filters)
        self.notes = self._describe_pairs()

    def prompts(self, split: Split) -> list[Prompt]:
        return [request.make_prompt(name) for name, request in self._requests(split).items()]

    def demonstrations(self, split: Split) -> list[Demonstration]:
        """Returns one general answer to each request. If the setting `demonstrations` is `safe`, returns the safe
        answers of the pairs instead. Raises `MissingRecords` for `test`, or if no pair has a safe answer."""
        if self._spec.demonstrations == "safe":
            rows = [
                Demonstration(prompt, answer)
                for prompt, pair in self._kept("answers to imitate", split)
                for answer, safe in zip(pair.answers, pair.safe, strict=True)
                if safe
            ]
            if not rows:
                raise self.lacks("safe answers to imitate", split)
            return rows
        if split == "test":
            raise self.lacks("answers to imitate", split)
        rng = make_stream(self._seed, "safeworld demonstrations", split)
        requests = self._requests(split).items()
        return [Demonstration(row.make_prompt(name), write_general_answer(rng, row)) for name, row in requests]

    def preferences(self, split: Split) -> list[Preference]:
        """Returns the pairs that the filters keep. The rule decides which answer of a pair is chosen. Raises
        `MissingRecords` for `test`, or if no pair is left."""
        rows = self._kept("pairs", split)
        if not rows:
            raise self.lacks("pairs", split)
        return [order_labelled_pair(prompt, pair, self._spec.rule) for prompt, pair in rows]

    def true_values(
        self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]
    ) -> list[Mapping[str, float]]:
        """Returns for each answer the exact helpfulness, the exact cost, and whether the answer is a refusal (1 or
        0)."""
        requests = self._requests(split)
        rows: list[Mapping[str, float]] = []
        for prompt, answer in zip(prompts, completions, strict=True):
            exact = value_answer(read_request(requests, prompt, self.name, split), answer.text)
            rows.append({"helpfulness": exact.helpfulness, "cost": exact.cost, "refused": float(exact.refused)})
        return rows

    def words(self) -> tuple[str, ...]:
        return SAFEWORLD_WORDS

    def provenance(self) -> dict[str, Any]:
        keys = [make_turn_key(prompt) for split in ("train", "validation") for prompt in self.prompts(split)]
        return describe_provenance(self.name, "policy", keys, seed=self._spec.seed)

    def _requests(self, split: Split) -> dict[str, SafeworldRequest]:
        """Returns a mapping from prompt id to request, for all requests of a split."""
        spec = self._spec
        count = {"train": spec.train, "validation": spec.validation, "test": spec.test}[split]
        requests = make_safeworld_requests(spec.seed, split, count, spec.harmful)
        return {f"{split}-{place:05d}": request for place, request in enumerate(requests)}

    def _pairs(self, split: Split) -> list[tuple[Prompt, LabelledPair]]:
        requests = self._requests(split)
        pairs = write_labelled_pairs(self._seed, split, tuple(requests.values()), self._spec.shares)
        prompts = [request.make_prompt(name) for name, request in requests.items()]
        return list(zip(prompts, pairs, strict=True))

    def _kept(self, records: str, split: Split) -> list[tuple[Prompt, LabelledPair]]:
        if split == "test":
            raise self.lacks(records, split)
        return [row for row in self._pairs(split) if keep_after_filters(self._spec.filters, row[1].safe)]

    def _describe_pairs(self) -> tuple[str, ...]:
        pairs = [pair for _, pair in self._pairs("train")]
        kinds = [pair.combination for pair in pairs]
        contradictory = sum(pair.better != pair.safer for pair in pairs)
        notes = [
            f"safeworld: of {counted(len(pairs), 'training pair')}, {kinds.count('dual-safe')} have two safe answers, "
            f"{kinds.count('dual-unsafe')} two unsafe answers and {kinds.count('mixed')} one of each. In {contradictory} pairs "
            "the more helpful answer is not the safer answer."
        ]
        for name in dict.fromkeys(self._spec.filters):
            notes.append(f"safeworld: the filter {name} leaves out {kinds.count(name)} of these pairs.")
        return tuple(notes)


def order_labelled_pair(prompt: Prompt, pair: LabelledPair, rule: SafetyRule) -> Preference:
    """Returns a labelled pair as a preference. The rule decides which answer is preferred."""
    first = decide_by_rule(rule, better=pair.better, safer=pair.safer, safe=pair.safe)
    chosen, rejected = (pair.answers[place] for place in (first, 1 - first))
    return Preference(prompt, chosen, rejected, chosen_safe=pair.safe[first], rejected_safe=pair.safe[1 - first])
