"""Defines the records that testbeds, rewards, samplers and evaluators exchange. This module does not import torch.

A `Prompt` is a dialogue whose next message is the answer; a `Completion` is the answer as text. Four records combine
prompts and answers for training: a `Demonstration` (one good answer), a `Preference` (two answers, ordered), a
`Ranking` (K answers with scores) and a `Rated` answer (one answer, desirable or not). A `Problem` is a prompt whose
answers can be tested. Only the testbed's judge interprets the data in the tests (`Test`) of a problem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

VERDICT = "verdict/"
"""The prefix of the metrics for a judge's verdicts: `verdict/passed` is the share of the programs that passed."""
Role = Literal["system", "user", "assistant"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a dialogue."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A dialogue whose next turn is the assistant's. `id` is unique in its testbed; `level` is the difficulty, '' if
    unknown."""

    id: str
    turns: tuple[Turn, ...]
    level: str = ""


@dataclass(frozen=True, slots=True)
class Test:
    """One test of a program: `input` and expected `output` are plain data (JSON) that the judge understands. `how`:
    further data for the judge (None: no further data)."""

    __test__ = False  # tells pytest that this class is not a test case
    input: Any
    output: Any
    how: Any = None


@dataclass(frozen=True, slots=True)
class Problem(Prompt):
    """A prompt whose answers are programs. The prompt shows the public tests; the hidden tests decide whether a program
    is correct."""

    public_tests: tuple[Test, ...] = ()
    hidden_tests: tuple[Test, ...] = ()


class DrawnIds(NamedTuple):
    """The token ids that a policy drew, including the end token, and a digest of the vocabulary that the ids refer
    to."""

    ids: tuple[int, ...]
    vocabulary: str


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer as text, without the end-of-turn token. `truncated`: the answer reached the length limit before its end.

    `drawn`: the ids of an answer that a policy drew. A model with the same vocabulary learns from these ids and not
    from the text, because encoding the text can give other ids. Two answers are equal if their texts and `truncated`
    are equal; `drawn` is not compared.
    """

    text: str
    truncated: bool = False
    drawn: DrawnIds | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt with an answer to imitate."""

    prompt: Prompt
    completion: Completion


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one prompt. `chosen` is the better answer. `margin`: by how much `chosen` is better, in the
    labeller's units. `probability`: the labeller's probability that `chosen` is better. A probability below 1/2 means
    that `rejected` is more likely to be better. Margin and probability are None if the data do not contain them.
    `chosen_safe`, `rejected_safe`: whether the answer is safe, judged without the other answer (None: unknown)."""

    prompt: Prompt
    chosen: Completion
    rejected: Completion
    margin: float | None = None
    probability: float | None = None
    chosen_safe: bool | None = None
    rejected_safe: bool | None = None


@dataclass(frozen=True, slots=True)
class Rated:
    """A single answer with a label: desirable or undesirable (thumbs up or down)."""

    prompt: Prompt
    completion: Completion
    desirable: bool


@dataclass(frozen=True, slots=True)
class Ranking:
    """K answers to one prompt with their scores, in any order. A higher score is better."""

    prompt: Prompt
    completions: tuple[Completion, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's verdict on one program.

    outcome: 'passed', or the reason why the program did not pass.
    passed: whether each test passed, in the order of the tests.
    detail: the first failing test (input, expected, got), in a form for people to read; empty if no test failed.
    """

    outcome: str
    passed: tuple[bool, ...]
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def correct(self) -> bool:
        return self.outcome == "passed"


def from_completion(answer: Completion) -> list[Any]:
    """Returns an answer as plain data (JSON): the text, and whether the answer is truncated. If a policy drew the
    answer, the data also contain the ids and the digest of the vocabulary."""
    drawn = [] if answer.drawn is None else [list(answer.drawn.ids), answer.drawn.vocabulary]
    return [answer.text, answer.truncated, *drawn]


def to_completion(data: Sequence[Any]) -> Completion:
    """Makes an answer from the data that `from_completion` returned."""
    text, truncated, *drawn = data
    return Completion(text, truncated, DrawnIds(tuple(drawn[0]), drawn[1]) if drawn else None)


def from_preference(pair: Preference) -> dict[str, Any]:
    """Returns a preference as plain data (JSON), without the tests of its prompt."""
    answers = {"chosen": from_completion(pair.chosen), "rejected": from_completion(pair.rejected)}
    labels = {"margin": pair.margin, "probability": pair.probability}
    labels |= {"chosen_safe": pair.chosen_safe, "rejected_safe": pair.rejected_safe}
    return _from_prompt(pair.prompt) | answers | {name: value for name, value in labels.items() if value is not None}


def to_preference(data: Mapping[str, Any]) -> Preference:
    """Makes a preference from the data that `from_preference` returned."""
    chosen, rejected = to_completion(data["chosen"]), to_completion(data["rejected"])
    labels = {name: data.get(name) for name in ("margin", "probability", "chosen_safe", "rejected_safe")}
    return Preference(_to_prompt(data), chosen, rejected, **labels)


def from_ranking(ranking: Ranking) -> dict[str, Any]:
    """Returns a ranking as plain data (JSON), without the tests of its prompt."""
    answers = [from_completion(answer) for answer in ranking.completions]
    return _from_prompt(ranking.prompt) | {"completions": answers, "scores": list(ranking.scores)}


def best_and_worst(ranking: Ranking) -> Preference:
    """Makes a preference pair of the best and the worst answer of a ranking. If several answers share the highest or
    the lowest score, the first of them is used. The margin is the difference of the two scores."""
    best, worst = (ranking.scores.index(score) for score in (max(ranking.scores), min(ranking.scores)))
    gap = ranking.scores[best] - ranking.scores[worst]
    return Preference(ranking.prompt, ranking.completions[best], ranking.completions[worst], margin=gap)


def of_two(pair: Preference) -> Ranking:
    """Returns a preference pair as a ranking of two answers, with scores 1 (chosen) and 0 (rejected)."""
    return Ranking(pair.prompt, (pair.chosen, pair.rejected), (1.0, 0.0))


def _from_prompt(prompt: Prompt) -> dict[str, Any]:
    return {"id": prompt.id, "level": prompt.level, "turns": [[turn.role, turn.content] for turn in prompt.turns]}


def _to_prompt(data: Mapping[str, Any]) -> Prompt:
    return Prompt(data["id"], tuple(Turn(role, content) for role, content in data["turns"]), data["level"])
