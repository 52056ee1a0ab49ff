"""Compares the contestants of a contest. First checks the judge on labelled pairs. Then asks the judge about all pairs of
the contestants' answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from preflab.analysis.winrates.agreement import agreement_on
from preflab.analysis.winrates.words import agreement_words
from preflab.contest.analysis import JudgedPairs
from preflab.contest.answering import Announce
from preflab.contest.labels import match_outcomes, read_people
from preflab.contest.provenance import check_training_data
from preflab.contest.questions import ask_contestants
from preflab.contest.record import ContestResult
from preflab.contest.result import analyse_contest
from preflab.contest.settings import Contest
from preflab.errors import UserError
from preflab.evaluation.preference.base import PairVerdict, PreferenceJudge, PreferenceQuestion
from preflab.evaluation.preference.endpoint import EndpointUse
from preflab.evaluation.preference.estimate import CallEstimate
from preflab.evaluation.preference.labelled import check_verdicts, read_labelled_pairs
from preflab.spec import Context
from preflab.testbeds.base import require_testbed

Ask = Callable[[Sequence[PreferenceQuestion]], list[PairVerdict]]
BATCH = 8
"""The number of pairs that a local judge judges between two progress messages."""


@dataclass(frozen=True)
class ComparedContest:
    """A finished contest. result: the win rates and other statistics. judged: the pairs of answers with their texts and
    the judge's verdicts, for each pair of contestants."""

    result: ContestResult
    judged: Sequence[JudgedPairs]


def compare_contestants(contest: Contest, say: Announce) -> ComparedContest:
    """Collects the contestants' answers. Then checks the judge on the labelled pairs, and passes the judge's agreement
    with the labels to `say`. Then lets the judge compare the contestants' answers. Raises `UserError` if an input is
    invalid, or if the contest needs more calls to an endpoint than a cap allows."""
    labels = {} if contest.labels is None else read_people(contest.labels)
    if labels and contest.seeds > 1:
        raise UserError(
            "--labels needs contestants with one seed, but a contestant has several seeds. Give each contestant one source."
        )
    labelled, label_outcomes = read_labelled_pairs(contest.agreement)
    unknown = list(check_training_data(contest.judge, contest.contestants))
    use = EndpointUse()
    with ExitStack() as stack:
        context = Context(seed=contest.seed, device=contest.device)
        testbed = require_testbed(stack.enter_context(contest.testbed.open(context)))
        judge = stack.enter_context(contest.judge.open_judge(replace(context, testbed=testbed), use))
        ballot = ask_contestants(contest, testbed, judge, labelled, use, say)
        questions = ballot.all_questions
        ask = make_asker(contest, judge, len(questions) + len(labelled), say)
        known = match_outcomes(labels, questions)
        if labels and not known:
            raise UserError(
                "The file of --labels contains no label for any judged pair. Label the pairs in `pairs.jsonl`, which --output "
                "DIR writes. Then repeat the command with the same contestants, prompts and seed."
            )
        estimate = judge.estimate([*labelled, *questions])
        judge.check_caps(estimate)
        count = f"{len(questions)} pairs and {len(labelled)} labelled pairs"
        orders = "" if contest.judge.judge.by == "reward" else " in both orders"
        say(f"{contest.judge.judge} judges {count}{orders}{describe_estimate(estimate)}")
        agreement = agreement_on(check_verdicts(ask(labelled), label_outcomes))
        if agreement is not None:
            say(agreement_words(agreement))
        judged = [JudgedPairs(*names, rows, [ask(row) for row in rows]) for names, rows in ballot.rows.items()]
    notes = [*unknown, *ballot.notes]
    return ComparedContest(analyse_contest(contest, ballot.testbed, judged, known, agreement, notes), judged)


def describe_estimate(estimate: CallEstimate) -> str:
    """Returns the estimated number and cost of the calls to the endpoint, as text for a progress message. Returns '' if
    the contest makes no calls."""
    return f": {estimate.describe()}" if estimate.calls or estimate.cached else ""


def make_asker(contest: Contest, judge: PreferenceJudge, total: int, say: Announce) -> Ask:
    """Returns a function that passes questions to the judge and returns its verdicts. A local judge takes seconds for
    each pair. The function therefore passes the questions to a local judge in batches of `BATCH` pairs. After each
    batch, it reports the number of judged pairs out of `total` with `say`."""
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
