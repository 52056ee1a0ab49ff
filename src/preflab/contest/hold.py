"""Holds a contest: collects the contestants' answers, checks the judge on labelled pairs, asks the judge about all
pairs, and analyses the verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from preflab.analysis.intervals import Floats
from preflab.analysis.winrates.agreement import Agreement, measure_agreement
from preflab.analysis.winrates.bradley_terry import ArmScores, bradley_terry
from preflab.analysis.winrates.words import agreement_words
from preflab.contest.analysis import JudgedPairs, analyse_pair
from preflab.contest.answer_file import AnswersById
from preflab.contest.answering import answers_at_hand, ask_answers, draw_answers, request_bodies
from preflab.contest.contestant import Entrant
from preflab.contest.labels import read_people
from preflab.contest.provenance import check_training_data
from preflab.contest.record import ContestPair, ContestResult
from preflab.errors import UserError
from preflab.evaluation.preference.base import PairVerdict, PreferenceJudge, PreferenceQuestion, name_pair
from preflab.evaluation.preference.drawing import draw_prompts
from preflab.evaluation.preference.endpoint import Endpoint, EndpointUse
from preflab.evaluation.preference.estimate import CallEstimate
from preflab.evaluation.preference.labelled import read_labelled_pairs
from preflab.evaluation.preference.spec import JudgeSettings
from preflab.sampling.base import Decoding
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.testbeds.base import Testbed, TestbedSpec, require_testbed
from preflab.types import Prompt

Announce = Callable[[str], None]
Ask = Callable[[Sequence[PreferenceQuestion]], list[PairVerdict]]
BATCH = 8
"""The number of pairs that a local judge judges between two progress messages."""


@dataclass(frozen=True)
class Contest:
    """The settings of a contest. prompts: the number of prompts that `seed` draws from the test split. decoding: how
    models generate their answers. labels: people's labels of judged pairs, as a file or as the directory of a contest
    that people judged. agreement: the files of labelled pairs on which the judge is checked."""

    contestants: Sequence[Entrant]
    testbed: TestbedSpec
    judge: JudgeSettings
    prompts: int = 100
    seed: int = 0
    decoding: Decoding = field(default_factory=Decoding)
    labels: Path | None = None
    agreement: Sequence[Path] = ()
    device: str = "cpu"


@dataclass(frozen=True)
class Ballot:
    """A contest before the verdicts. testbed: the name of the testbed. rows: for each pair of contestants, the
    questions to the judge, with one row for each seed and one column for each prompt. notes: sentences about the
    prompts."""

    testbed: str
    rows: Mapping[tuple[str, str], Sequence[Sequence[PreferenceQuestion]]]
    notes: Sequence[str]

    @property
    def every(self) -> list[PreferenceQuestion]:
        """All questions: first those about the first pair of contestants, then those about the second, and so on."""
        return [question for rows in self.rows.values() for row in rows for question in row]


@dataclass(frozen=True)
class HeldContest:
    """A contest after the verdicts. result: the result. judged: the judged pairs with their texts."""

    result: ContestResult
    judged: Sequence[JudgedPairs]


def hold_contest(contest: Contest, say: Announce) -> HeldContest:
    """Holds a contest. `say`: a function that takes one line about what happens next. `say` gets the judge's
    agreement with labelled pairs before the judge is asked about the contestants. Raises `UserError` if an input is
    wrong, or if the calls of an endpoint would exceed a cap."""
    labels = {} if contest.labels is None else read_people(contest.labels)
    if labels and count_seeds(contest) > 1:
        raise UserError("--labels corrects contestants with one seed each, but these have several. Compare one seed.")
    labelled, label_outcomes = read_labelled_pairs(contest.agreement)
    unknown = list(check_training_data(contest.judge, contest.contestants))
    use = EndpointUse()
    with ExitStack() as stack:
        context = Context(seed=contest.seed, device=contest.device)
        testbed = require_testbed(stack.enter_context(contest.testbed.open(context)))
        judge = stack.enter_context(contest.judge.open_judge(replace(context, testbed=testbed), use))
        ballot = ask_contestants(contest, testbed, judge, labelled, use, say)
        questions = ballot.every
        ask = make_asker(contest, judge, len(questions) + len(labelled), say)
        known = match_labels(labels, questions)
        estimate = judge.estimate([*labelled, *questions])
        judge.check_caps(estimate)
        count = f"{len(questions)} pairs and {len(labelled)} labelled pairs"
        orders = "" if contest.judge.judge.by == "reward" else " in both orders"
        say(f"{contest.judge.judge} judges {count}{orders}{describe_estimate(estimate)}")
        agreement = check_judge(ask, labelled, label_outcomes)
        if agreement is not None:
            say(agreement_words(agreement))
        judged = [JudgedPairs(*names, rows, [ask(row) for row in rows]) for names, rows in ballot.rows.items()]
    notes = [*unknown, *ballot.notes]
    return HeldContest(analyse_contest(contest, ballot.testbed, judged, known, agreement, notes), judged)


def ask_contestants(
    contest: Contest,
    testbed: Testbed,
    judge: PreferenceJudge,
    labelled: Sequence[PreferenceQuestion],
    use: EndpointUse,
    say: Announce,
) -> Ballot:
    """Collects the contestants' answers, and returns the questions for the judge."""
    prompts, answers, notes = collect(contest, testbed, judge, labelled, use, say)
    rows = {
        (one.name, other.name): make_questions(prompts, answers[one.name], answers[other.name])
        for one, other in pair_entrants(contest)
    }
    return Ballot(testbed.name, rows, notes)


def count_seeds(contest: Contest) -> int:
    return max(len(contestant.members) for contestant in contest.contestants)


def pair_entrants(contest: Contest) -> list[tuple[Entrant, Entrant]]:
    return list(combinations(contest.contestants, 2))


def collect(
    contest: Contest,
    testbed: Testbed,
    judge: PreferenceJudge,
    labelled: Sequence[PreferenceQuestion],
    use: EndpointUse,
    say: Announce,
) -> tuple[list[Prompt], dict[str, list[AnswersById]], list[str]]:
    """Returns the prompts, the answers of every contestant for each seed, and notes. The prompts are drawn from the
    test prompts. A prompt cannot be drawn if a contestant's answers are in a file or in the data, and this prompt has
    no answer there."""
    every = list(testbed.prompts("test"))
    if not every:
        raise UserError(f"The testbed {testbed.name} has no test prompts, which a contest needs. Add a test split.")
    at_hand = {each.name: answers_at_hand(each, testbed, every) for each in contest.contestants}
    answered = [prompt for prompt in every if all(prompt.id in row for rows in at_hand.values() for row in rows)]
    if not answered:
        raise UserError(
            "No prompt of the test split is answered by every file. Compare files with answers to the same prompts."
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
    """Returns a note if some test prompts lack an answer in a file, or if there are fewer prompts than the contest asks
    for; otherwise ''."""
    note = ""
    if len(answered) < len(every):
        missing = len(every) - len(answered)
        note = f"{missing} of {len(every)} test prompts could not be drawn, because a file has no answer to them."
    if len(prompts) < contest.prompts:
        note = (
            f"Only {len(prompts)} prompts could be compared, of {contest.prompts} that were asked for. {note}".strip()
        )
    return note


def refuse_too_many_calls(
    contest: Contest, prompts: int, judge: PreferenceJudge, labelled: Sequence[PreferenceQuestion], use: EndpointUse
) -> None:
    """Raises `UserError` before the first call if the contestants and the judge would together need more calls of the
    endpoint than the cap. It is not known here which answers are in the cache, so the calls for cached answers
    are counted too."""
    members = sum(len(each.members) for each in contest.contestants if each.source == "endpoint")
    if not members:
        return
    calls = use.sent + members * prompts
    if contest.judge.judge.by == "openai":
        calls += judge.estimate(labelled).calls + 2 * len(pair_entrants(contest)) * count_seeds(contest) * prompts
    if calls > contest.judge.endpoint.max_calls:
        raise UserError(
            f"The contestants and the judge would need up to {calls:,} calls, but the cap is "
            f"{contest.judge.endpoint.max_calls:,}. Ask about fewer prompts, or raise --max-calls. Nothing was asked."
        )


def ask_contestant(
    contest: Contest, contestant: Entrant, prompts: Sequence[Prompt], use: EndpointUse, say: Announce
) -> list[AnswersById]:
    """Returns a contestant's answers to the prompts, for each seed."""
    answers: list[AnswersById] = []
    for place, member in enumerate(contestant.members):
        seed = contest.seed + place
        if contestant.source == "model":
            say(f"{contestant.name} answers {len(prompts)} prompts")
            answers.append(draw_answers(member, prompts, contest.decoding, seed=seed, device=contest.device))
            continue
        settings = contest.judge.endpoint.model_copy(update={"max_tokens": contest.decoding.max_new_tokens})
        endpoint = Endpoint(member, settings, use)
        estimate = endpoint.estimate(request_bodies(endpoint, prompts, contest.decoding, seed))
        say(f"{contestant.name} answers {len(prompts)} prompts: {estimate.describe()}")
        answers.append(ask_answers(endpoint, prompts, contest.decoding, seed))
    return answers


def make_questions(
    prompts: Sequence[Prompt], first: Sequence[AnswersById], second: Sequence[AnswersById]
) -> list[list[PreferenceQuestion]]:
    """Returns the questions about two contestants, one row for each seed. A contestant with one seed is compared with
    every seed of the other contestant."""
    seeds = max(len(first), len(second))
    rows: list[list[PreferenceQuestion]] = []
    for place in range(seeds):
        one, other = first[place % len(first)], second[place % len(second)]
        pairs = [(prompt, one[prompt.id], other[prompt.id]) for prompt in prompts]
        rows.append([PreferenceQuestion(name_pair(p.id, a.text, b.text), p, a, b) for p, a, b in pairs])
    return rows


def describe_estimate(estimate: CallEstimate) -> str:
    """Describes the estimated calls of an endpoint for a progress message; '' if there are no calls."""
    return f": {estimate.describe()}" if estimate.calls or estimate.cached else ""


def make_asker(contest: Contest, judge: PreferenceJudge, total: int, say: Announce) -> Ask:
    """Returns the function that asks the judge. A local judge takes seconds for each pair. It is therefore asked in
    batches of `BATCH` pairs, and after each batch `say` gets a line with the number of judged pairs out of `total`."""
    if contest.judge.judge.by != "local":
        return judge.compare
    done = 0

    def ask_in_batches(questions: Sequence[PreferenceQuestion]) -> list[PairVerdict]:
        nonlocal done
        verdicts: list[PairVerdict] = []
        for start in range(0, len(questions), BATCH):
            verdicts += judge.compare(questions[start : start + BATCH])
            done += len(questions[start : start + BATCH])
            say(f"{contest.judge.judge} has judged {done} of {total} pairs")
        return verdicts

    return ask_in_batches


def check_judge(ask: Ask, labelled: Sequence[PreferenceQuestion], labels: Sequence[float]) -> Agreement | None:
    """Returns how well the judge agrees with labelled pairs; None if there are no such pairs."""
    if not labelled:
        return None
    verdicts = ask(labelled)
    unreadable = np.array([float(verdict.unreadable) for verdict in verdicts])
    return measure_agreement(np.array([verdict.outcome for verdict in verdicts]), np.array(labels), unreadable)


def match_labels(labels: Mapping[str, float], questions: Sequence[PreferenceQuestion]) -> dict[str, float]:
    """Returns the labels of the judged pairs. Maps the name of each labelled pair to its label. A label of the
    same answers in the other order is reversed. Raises `UserError` if no label belongs to a judged pair."""
    known: dict[str, float] = {}
    for question in questions:
        turned = name_pair(question.prompt.id, question.second.text, question.first.text)
        if question.pair in labels:
            known[question.pair] = labels[question.pair]
        elif turned in labels:
            known[question.pair] = 1 - labels[turned]
    if labels and not known:
        raise UserError(
            "No label of --labels names a judged pair. Label the pairs of `pairs.jsonl`, which --output DIR writes, and repeat "
            "the command with the same contestants, prompts and seed."
        )
    return known


def analyse_contest(
    contest: Contest,
    testbed: str,
    judged: Sequence[JudgedPairs],
    labels: Mapping[str, float],
    agreement: Agreement | None,
    notes: Sequence[str],
) -> ContestResult:
    """Returns the result of the judged pairs."""
    can_judge = agreement is None or agreement.beats_coin
    pairs = tuple(analyse_pair(pair, labels, family=len(judged), can_judge=can_judge) for pair in judged)
    names = [contestant.name for contestant in contest.contestants]
    outcomes = {(pair.first, pair.second): pair.outcomes for pair in judged}
    seeds = max(table.shape[0] for table in outcomes.values())
    every = {name: np.broadcast_to(table, (seeds, table.shape[1])) for name, table in outcomes.items()}
    return ContestResult(
        judge=str(contest.judge.judge),
        template=contest.judge.template_name,
        contestants={contestant.name: contestant.members for contestant in contest.contestants},
        testbed=testbed,
        prompts=len(judged[0].questions[0]),
        seeds=seeds,
        agreement=agreement,
        pairs=pairs,
        scores=score_contestants(names, every, agreement, pairs) if len(names) > 2 else None,
        settings=dump_settings(contest),
        notes=tuple(notes),
    )


def score_contestants(
    names: Sequence[str],
    outcomes: Mapping[tuple[str, str], Floats],
    agreement: Agreement | None,
    pairs: Sequence[ContestPair],
) -> ArmScores:
    """Returns the Bradley-Terry scores of the judge's outcomes. Returns no scores, but a reason, if the labelled pairs
    or people's labels of a pair of contestants do not show that the judge is better than a coin."""
    checks = {"the labelled pairs of --agreement": agreement}
    for pair in pairs:
        if pair.correction is not None:
            checks[f"people's labels of {pair.first} against {pair.second}"] = pair.correction.agreement
    failed = [name for name, check in checks.items() if check is not None and not check.beats_coin]
    if failed:
        return ArmScores({}, f"the judge is not clearly better than a coin on {failed[0]}, so there are no scores")
    return bradley_terry(names, outcomes)


def dump_settings(contest: Contest) -> dict[str, Any]:
    """Returns the settings of a contest as plain data."""
    return {
        "testbed": TESTBEDS.dump(contest.testbed),
        "judge": contest.judge.model_dump(mode="json"),
        "decoding": contest.decoding.model_dump(mode="json"),
        "prompts": contest.prompts,
        "seed": contest.seed,
    }
