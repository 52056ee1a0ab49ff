"""Lets people judge a contest: saves its pairs, so that a repeated command continues the contest, and turns people's
labels into the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from preflab.contest.analysis import JudgedPairs
from preflab.contest.answering import Announce
from preflab.contest.files import SAVED_FILE, pairs_to_rate, read_judge_outcomes
from preflab.contest.labels import labels_by_pair, match_outcomes
from preflab.contest.questions import Ballot, ask_contestants
from preflab.contest.record import ContestResult
from preflab.contest.result import analyse_contest
from preflab.contest.saved_pairs import read_saved_pairs, write_saved_pairs
from preflab.contest.settings import Contest
from preflab.errors import UserError
from preflab.evaluation.preference.base import PairVerdict, PreferenceJudge, PreferenceQuestion
from preflab.evaluation.preference.endpoint import EndpointUse
from preflab.rating import keep_pairs, kept_pairs, name_prompts, read_labels, summarise
from preflab.spec import Context
from preflab.testbeds.base import require_testbed
from preflab.text import counted

FEWEST_PROMPTS = 2


class People(PreferenceJudge):
    """People as the judge. `labels`: maps the name of each pair to people's outcomes, one for each rater."""

    def __init__(self, labels: Mapping[str, tuple[float, ...]]) -> None:
        self.labels = labels

    def compare(self, questions: Sequence[PreferenceQuestion]) -> list[PairVerdict]:
        """Returns a verdict for each question: the mean of the labels of its pair. Every pair must have a label."""
        labels = [self.labels[question.pair] for question in questions]
        return [
            PairVerdict(question.pair, sum(given) / len(given), labels=given)
            for question, given in zip(questions, labels, strict=True)
        ]


def prepare_people(contest: Contest, folder: Path, say: Announce) -> Ballot:
    """Returns the contest whose pairs people judge. The first call collects the contestants' answers and keeps the
    pairs in the folder. Later calls read the pairs from the folder. Raises `UserError` if the folder holds another
    contest."""
    refuse_model_options(contest)
    if (folder / SAVED_FILE).exists():
        return read_saved_pairs(contest, folder)
    with ExitStack() as stack:
        testbed = require_testbed(
            stack.enter_context(contest.testbed.open(Context(seed=contest.seed, device=contest.device)))
        )
        ballot = ask_contestants(contest, testbed, People({}), [], EndpointUse(), say)
    keep_pairs([*pairs_to_rate(ballot.rows.values())], folder)
    write_saved_pairs(contest, ballot, folder)
    return ballot


def refuse_model_options(contest: Contest) -> None:
    """Raises `UserError` for a setting that applies only if a model judges."""
    given = {"--template": contest.judge.template, "--agreement": contest.agreement, "--labels": contest.labels}
    for name, value in given.items():
        if value:
            raise UserError(f"{name} applies only if a model judges, but here people judge. Remove it.")


def hear_people(
    contest: Contest, ballot: Ballot, folder: Path, say: Announce, with_judge: Path | None = None
) -> ContestResult | None:
    """Returns the result of the labels in a folder. A prompt counts only if all its pairs have a label. If fewer than
    two prompts count, returns None, and `say` gets the reason. `with_judge`: the directory of a contest in which a
    model judged the same pairs. If `with_judge` is None, `folder` is used, provided that a model judged the same pairs
    there."""
    labels = labels_by_pair(folder)
    columns = labelled_columns(ballot, labels)
    every = len(next(iter(ballot.rows.values()))[0])
    if len(columns) < FEWEST_PROMPTS:
        say(
            f"No result yet: {len(columns)} of {counted(every, 'prompt')} in {folder} have a label for each pair, and a result "
            f"needs {FEWEST_PROMPTS} such prompts. Repeat the command to go on."
        )
        return None
    judge = People(labels)
    rows = {names: [[row[place] for place in columns] for row in table] for names, table in ballot.rows.items()}
    judged = [JudgedPairs(*names, table, [judge.compare(row) for row in table]) for names, table in rows.items()]
    notes = [*ballot.notes, *_unlabelled_note(every - len(columns), every)]
    result = analyse_contest(contest, ballot.testbed, judged, {}, None, notes)
    name, outcomes = find_other_judge(ballot, folder, with_judge)
    summary = summarise(
        read_labels(folder),
        prompts=name_prompts(kept_pairs(folder)),
        other=outcomes or None,
        other_name=name,
    )
    return result.model_copy(update={"people": summary})


def labelled_columns(ballot: Ballot, labels: Mapping[str, tuple[float, ...]]) -> list[int]:
    """Returns the column indices of the prompts whose pairs all have a label."""
    rows = [row for table in ballot.rows.values() for row in table]
    return [place for place in range(len(rows[0])) if all(row[place].pair in labels for row in rows)]


def _unlabelled_note(missing: int, every: int) -> list[str]:
    if not missing:
        return []
    return [
        f"{missing} of {every} prompts still lack a label and are left out. The page shows the prompts in random order, so the "
        "labelled ones are drawn at random, unless raters skipped the hard ones."
    ]


def find_other_judge(ballot: Ballot, folder: Path, with_judge: Path | None) -> tuple[str, dict[str, float]]:
    """Returns the name and the outcomes of the model that judged the same pairs; '' and {} if there is no such model.
    Raises `UserError` if `with_judge` is given but holds no outcome of these pairs."""
    name, verdicts = read_judge_outcomes(with_judge or folder) or ("", {})
    outcomes = match_outcomes(verdicts, ballot.every)
    if with_judge is not None and not outcomes:
        raise UserError(
            f"--with-judge {with_judge} holds no verdict on these pairs. Name the --output of a `preflab winrate` with the "
            "same contestants, prompts and seed."
        )
    return name, outcomes
