"""Makes the questions of a contest: draws the prompts, and collects the contestants' answers to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preflab.contest.answer_file import AnswersById
from preflab.contest.answering import Announce, answers_at_hand, ask_contestant
from preflab.contest.settings import Contest
from preflab.errors import UserError
from preflab.evaluation.preference.base import PreferenceJudge, PreferenceQuestion, make_question
from preflab.evaluation.preference.drawing import draw_prompts
from preflab.evaluation.preference.endpoint import EndpointUse
from preflab.testbeds.base import Testbed
from preflab.types import Prompt


@dataclass(frozen=True)
class Ballot:
    """The questions of a contest that the judge has not yet answered. testbed: the name of the testbed. rows: the
    questions about each pair of contestants, with one row for each seed and one column for each prompt. notes:
    sentences about prompts that could not be used."""

    testbed: str
    rows: Mapping[tuple[str, str], Sequence[Sequence[PreferenceQuestion]]]
    notes: Sequence[str]

    @property
    def all_questions(self) -> list[PreferenceQuestion]:
        """All questions in one list, ordered by the pair of contestants, then by seed, then by prompt."""
        return [question for rows in self.rows.values() for row in rows for question in row]


def ask_contestants(
    contest: Contest,
    testbed: Testbed,
    judge: PreferenceJudge,
    labelled: Sequence[PreferenceQuestion],
    use: EndpointUse,
    say: Announce,
) -> Ballot:
    """Collects the contestants' answers to the prompts, and makes the questions for the judge."""
    prompts, answers, notes = collect(contest, testbed, judge, labelled, use, say)
    rows = {
        (one.name, other.name): make_questions(prompts, answers[one.name], answers[other.name])
        for one, other in contest.pairs
    }
    return Ballot(testbed.name, rows, notes)


def collect(
    contest: Contest,
    testbed: Testbed,
    judge: PreferenceJudge,
    labelled: Sequence[PreferenceQuestion],
    use: EndpointUse,
    say: Announce,
) -> tuple[list[Prompt], dict[str, list[AnswersById]], list[str]]:
    """Draws prompts from the test split and collects the contestants' answers. Returns the prompts, the answers of
    every contestant for each seed, and notes on prompts that could not be used. If the answers of a contestant come
    from a file or from the data, only prompts with an answer in this source are drawn."""
    every = list(testbed.prompts("test"))
    if not every:
        raise UserError(f"The testbed {testbed.name} has no test prompts, but a contest needs them. Add a test split.")
    at_hand = {each.name: answers_at_hand(each, testbed, every) for each in contest.contestants}
    answered = [prompt for prompt in every if all(prompt.id in row for rows in at_hand.values() for row in rows)]
    if not answered:
        raise UserError(
            "No prompt of the test split has an answer in every file. Compare files with answers to the same prompts."
        )
    by_id = {prompt.id: prompt for prompt in answered}
    prompts = [by_id[name] for name in draw_prompts(list(by_id), contest.prompts, contest.seed)]
    refuse_too_many_calls(contest, len(prompts), judge, labelled, use)
    answers: dict[str, list[AnswersById]] = {}
    for contestant in contest.contestants:
        answers[contestant.name] = at_hand[contestant.name] or ask_contestant(contest, contestant, prompts, use, say)
    notes = [note for note in (few_prompts(contest, every, answered, prompts),) if note]
    return prompts, answers, notes


def few_prompts(
    contest: Contest, every: Sequence[Prompt], answered: Sequence[Prompt], prompts: Sequence[Prompt]
) -> str:
    """Returns a note if a file has no answer to some of the test prompts, or if fewer prompts than `contest.prompts`
    can be compared. Returns '' if neither is the case."""
    note = ""
    if len(answered) < len(every):
        missing = len(every) - len(answered)
        note = f"{missing} of {len(every)} test prompts could not be drawn, because a file has no answer to them."
    if len(prompts) < contest.prompts:
        note = f"Only {len(prompts)} of the {contest.prompts} requested prompts could be compared. {note}".strip()
    return note


def refuse_too_many_calls(
    contest: Contest, prompts: int, judge: PreferenceJudge, labelled: Sequence[PreferenceQuestion], use: EndpointUse
) -> None:
    """Raises `UserError` before the first call if the contestants and the judge together need more endpoint calls than
    the cap allows. Calls for cached answers are counted too, because the function does not look into the cache."""
    members = sum(len(each.members) for each in contest.contestants if each.source == "endpoint")
    if not members:
        return
    calls = use.sent + members * prompts
    if contest.judge.judge.by == "openai":
        calls += judge.estimate(labelled).calls + 2 * len(contest.pairs) * contest.seeds * prompts
    if calls > contest.judge.endpoint.max_calls:
        raise UserError(
            f"The contestants and the judge need up to {calls:,} endpoint calls, but the cap is "
            f"{contest.judge.endpoint.max_calls:,}. Use fewer prompts, or raise --max-calls. No call was made."
        )


def make_questions(
    prompts: Sequence[Prompt], first: Sequence[AnswersById], second: Sequence[AnswersById]
) -> list[list[PreferenceQuestion]]:
    """Returns the questions about two contestants, with one row for each seed and one column for each prompt. If a
    contestant has only one seed, its answers are compared with the answers of every seed of the other contestant."""
    seeds = max(len(first), len(second))
    rows: list[list[PreferenceQuestion]] = []
    for place in range(seeds):
        one, other = first[place % len(first)], second[place % len(second)]
        rows.append([make_question(prompt, one[prompt.id], other[prompt.id]) for prompt in prompts])
    return rows
