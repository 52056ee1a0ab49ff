"""Lets people judge a contest. Saves the pairs of answers, so that a repeated command continues the same contest.
Computes the result of the contest from people's labels."""

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
    """A preference judge that returns people's labels as its verdicts. `labels`: maps the name of each pair to the labels
    of this pair, one for each rater."""

    def __init__(self, labels: Mapping[str, tuple[float, ...]]) -> None:
        self.labels = labels

    def compare(self, questions: Sequence[PreferenceQuestion]) -> list[PairVerdict]:
        """Returns a verdict for each question. The outcome of the verdict is the mean of the labels of the pair. Every
        pair must have a label."""
        labels = [self.labels[question.pair] for question in questions]
        return [
            PairVerdict(question.pair, sum(given) / len(given), labels=given)
            for question, given in zip(questions, labels, strict=True)
        ]


def prepare_people(contest: Contest, folder: Path, say: Announce) -> Ballot:
    """Returns the questions that people judge. The first call collects the contestants' answers and saves the pairs of
    answers in the folder. Later calls read the pairs from the folder. Raises `UserError` if the folder contains the
    pairs of another contest."""
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
    """Raises `UserError` if the contest has a setting that applies only to a model judge."""
    given = {"--template": contest.judge.template, "--agreement": contest.agreement, "--labels": contest.labels}
    for name, value in given.items():
        if value:
            raise UserError(f"{name} applies only if a model judges, but people judge this contest. Remove {name}.")


def hear_people(
    contest: Contest, ballot: Ballot, folder: Path, say: Announce, with_judge: Path | None = None
) -> ContestResult | None:
    """Computes the result of a contest from the labels in a folder. The result uses only prompts with a label for every
    pair. If there are fewer than two such prompts, reports this with `say` and returns None.

    `with_judge`: the directory of a contest in which a model judged the same pairs. The result then also contains the
    agreement of people with this model. If `with_judge` is None, such a contest is looked for in `folder`.
    """
    labels = labels_by_pair(folder)
    columns = labelled_columns(ballot, labels)
    every = len(next(iter(ballot.rows.values()))[0])
    if len(columns) < FEWEST_PROMPTS:
        say(
            f"No result yet: {len(columns)} of {counted(every, 'prompt')} in {folder} have a label for each pair, but a result "
            f"needs {FEWEST_PROMPTS} such prompts. Repeat the command to continue labelling."
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
    """Returns the column indices of the prompts for which every pair has a label."""
    rows = [row for table in ballot.rows.values() for row in table]
    return [place for place in range(len(rows[0])) if all(row[place].pair in labels for row in rows)]


def _unlabelled_note(missing: int, every: int) -> list[str]:
    if not missing:
        return []
    return [
        f"{missing} of {every} prompts still lack a label and are left out. The page shows the prompts in random order. The "
        "labelled prompts are therefore a random sample, unless raters skipped difficult prompts."
    ]


def find_other_judge(ballot: Ballot, folder: Path, with_judge: Path | None) -> tuple[str, dict[str, float]]:
    """Returns the name of the model that judged the same pairs, and the outcomes of its verdicts. Returns '' and {} if
    there is no such model. Raises `UserError` if the directory `with_judge` has no verdict on these pairs."""
    name, verdicts = read_judge_outcomes(with_judge or folder) or ("", {})
    outcomes = match_outcomes(verdicts, ballot.all_questions)
    if with_judge is not None and not outcomes:
        raise UserError(
            f"--with-judge {with_judge} contains no verdict on these pairs. Name the directory that `preflab winrate --output` "
            "wrote for the same contestants, prompts and seed."
        )
    return name, outcomes
