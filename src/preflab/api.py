"""The Python interface: functions that train and measure in this process, compare runs, and run a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from preflab.analysis.board import worst_values
from preflab.analysis.gather import mean
from preflab.analysis.record import Comparison, Results
from preflab.analysis.scores import Scores
from preflab.analysis.statistics import compare_scores
from preflab.arm.result import TrainedResult
from preflab.arm.spec import Arm
from preflab.errors import UserError
from preflab.evaluation.result import Measurements, ProblemScores
from preflab.paths import user_path
from preflab.report import write_report
from preflab.rewards import parse_cost, parse_reward
from preflab.spec import parse_spec
from preflab.study.archive import Archive
from preflab.study.directory import read_study
from preflab.study.results.make import study_results
from preflab.study.run import run_missing
from preflab.study.say import Say, keep_silent, say_on_stderr
from preflab.study.spec import Study
from preflab.train.directory import locked
from preflab.train.files import naming_failures
from preflab.train.own import FINAL
from preflab.train.settings import Keeping

if TYPE_CHECKING:
    from preflab.contest.record import ContestResult
    from preflab.study.forecast.make import Forecast


@dataclass(frozen=True)
class Trained:
    """A finished run. `result`: the content of its `result.json`. `final`: the directory of the trained model, which can be
    the `init` of another run."""

    directory: Path
    result: TrainedResult

    @property
    def final(self) -> str:
        return str(self.directory / FINAL)

    @property
    def diverged(self) -> bool:
        return self.result.diverged is not None

    @property
    def score(self) -> float:
        """The test score at the first decoding of the evaluation: greedy decoding by default. Raises `UserError` if the run
        was not measured on the test split."""
        return _measurements(self).chosen.score


@dataclass(frozen=True)
class StudyOutcome:
    """A study after its runs: the results, the path of the HTML report (`page`), and one sentence for each run that
    failed."""

    results: Results
    page: Path
    failures: tuple[str, ...]


def fit(
    method: str,
    *,
    output: str | Path,
    init: Trained | str | None = None,
    reward: str | None = None,
    cost: str | None = None,
    settings: dict[str, Any] | None = None,
    seed: int = 0,
    progress: bool = False,
    **arm: Any,
) -> Trained:
    """Trains with one method in this process and measures the result. If the run in `output` is unfinished, the same
    call resumes the run. If the run is finished, the call returns it.

    `settings`: the method's hyper-parameters. `arm`: further fields of a run file (`model`, `testbed`, `evaluators`,
    ...). The default testbed is `minicode`; its hidden tests measure the result. Raises `UserError` for an unknown
    method, field or setting.
    """
    from preflab.arm.execute import execute

    data = {
        "name": method.split(":")[-1],
        "method": {"kind": method, **(settings or {})},
        "init": init.final if isinstance(init, Trained) else init,
        "reward": parse_reward(reward) if reward is not None else None,
        "cost": parse_cost(cost) if cost is not None else None,
        "seed": seed,
        "testbed": "minicode",
        **({} if "evaluators" in arm else {"evaluator": "hidden-tests"}),
        **arm,
    }
    spec = parse_spec(Arm, data, where="preflab.fit")
    directory = Path(output)
    return Trained(directory, execute(spec, directory, keeping=Keeping(progress=progress)))


def compare(first: Sequence[Trained], second: Sequence[Trained]) -> Comparison:
    """Compares two methods by the difference of their test scores, paired by problem and by seed. Only the seeds that
    both sides have are used.

    As in a study, a diverged run scores 0 on each problem, or the worst score of any run if scores can be negative.
    Raises `UserError` if a side has no run, if a run was not measured, if all runs diverged, or if the sides share no
    seed.
    """
    if not first or not second:
        raise UserError("compare: give at least one run on each side.")
    tables = [_problems(run) for run in (*first, *second) if not run.diverged]
    if not tables:
        raise UserError("compare: every run diverged, so there is nothing to compare. Lower the learning rates.")
    worst = worst_values(tables)
    names = first[0].result.name, second[0].result.name
    comparison = compare_scores(_scores(first, worst), _scores(second, worst), names=names)
    return comparison.model_copy(update={"metric": "score", "named": False})


def run_study(
    study: Study,
    directory: str | Path,
    *,
    command: str = "",
    tune: bool = False,
    fresh: bool = False,
    samples: bool = True,
    quiet: bool = False,
    archives: Sequence[str | Path] = (),
) -> StudyOutcome:
    """Executes the runs of a study that are not finished yet, and writes the study's report. Progress goes to standard
    error.

    `command`: the command that the report shows for repeating the study. `tune`: run the tuning stage even if the study
    file contains tuned values. `fresh`: first remove the files of earlier starts. `samples`: quote prompts and answers
    in the report. `archives`: files of `preflab export`; their finished runs count as done. Raises `UserError` if
    the directory holds another study, if an archive cannot be read, or if an arm cannot run.
    """
    directory = Path(directory)
    opened = [Archive(user_path(f"{file}")) for file in archives]
    with locked(directory), naming_failures(directory):
        failures = run_missing(study, directory, command=command, tune=tune, fresh=fresh, quiet=quiet, archives=opened)
        for archive in () if quiet else opened:
            say_on_stderr(archive.describe())
        results, page = report_study(directory, samples=samples)
    return StudyOutcome(results, page, failures)


def compare_policies(
    policies: Mapping[str, str],
    *,
    testbed: Any,
    output: str | Path,
    baseline: str | None = None,
    command: str = "",
    fresh: bool = False,
    samples: bool = True,
    quiet: bool = True,
    **settings: Any,
) -> StudyOutcome:
    """Measures policies that were trained anywhere, and writes the same report as a study, with paired intervals. If
    the call is interrupted, the same call continues it. Each policy counts as one run, so the intervals are over
    problems alone.

    `policies`: maps the name of each policy to a directory, a finished run or a name on the hub. `testbed`: its name,
    or its settings with their `kind`. `baseline`: the name of the policy that the others are compared with; the
    baseline cannot win. `settings`: further fields of a study file, such as `evaluator` and `evaluation`. The other
    parameters are those of `run_study`. Raises `UserError` if a policy has changed since it was measured in the
    directory `output`.
    """
    from preflab.study.compare import comparison_study

    study = comparison_study(policies, baseline=baseline, testbed=testbed, **settings)
    return run_comparison(study, Path(output), command=command, fresh=fresh, samples=samples, quiet=quiet)


def run_comparison(study: Study, directory: Path, *, fresh: bool, **settings: Any) -> StudyOutcome:
    """Runs the study that `comparison_study` returned. Raises `UserError` if a policy has changed since it was measured
    in `directory`, unless `fresh` starts the study anew."""
    from preflab.study.compare import POLICIES_FILE, refuse_changed_policies

    if fresh:
        (directory / POLICIES_FILE).unlink(missing_ok=True)
    refuse_changed_policies(study, directory)
    return run_study(study, directory, fresh=fresh, **settings)


def plan_study(
    study: Study,
    directory: str | Path,
    *,
    fresh: bool = False,
    tune: bool = False,
    say: Say = keep_silent,
) -> Forecast:
    """Times the study's models and its judge on this machine. Returns the runs that are still to do, and how long they
    would take. `tune`: as in `run_study`. `say`: a function that is called with a line of text about what is
    timed next. Raises `UserError` if the directory holds another study, or if the testbed lacks data that the
    measurements need."""
    from preflab.study.forecast.make import forecast_study

    return forecast_study(study, Path(directory), fresh=fresh, tune=tune, say=say)


def report_study(directory: str | Path, *, samples: bool = True) -> tuple[Results, Path]:
    """Writes the report of the runs that have finished so far. Returns the results and the path of the HTML page.
    Raises `UserError` if the directory holds no study."""
    directory = Path(directory)
    study, command, failures = read_study(directory)
    with naming_failures(directory):
        results = study_results(study, directory, command=command, failures=failures)
        return results, write_report(results, directory, samples=samples)


def measure_win_rates(
    contestants: Sequence[str],
    *,
    testbed: Any,
    judge: Any,
    prompts: int = 100,
    seed: int = 0,
    labels: str | Path | None = None,
    agreement: Sequence[str | Path] = (),
    decoding: dict[str, Any] | None = None,
    output: str | Path | None = None,
    device: str = "auto",
    say: Say = keep_silent,
) -> ContestResult:
    """Lets a preference judge compare the answers of contestants to the same prompts, and returns all win rates.

    `contestants`: two or more of `[NAME=]SOURCE`, as on the command line. `testbed`: its name, or its settings with
    their `kind`. `judge`: a name such as `openai:MODEL`, or the settings of `JudgeSettings` (`ask_people` lets people
    judge). `labels`: people's labels of judged pairs, as a file or as the `output` of `ask_people`; they correct the
    win rates. `agreement`: files of labelled pairs on which the judge is checked first. `decoding`: how models answer
    (`max_new_tokens`, `temperature`, ...). `output`: the directory for the result, the verdicts and the pairs. `say`:
    a function that is called with a line of text about what happens next. Raises `UserError` if an input is wrong, or
    if the calls of an endpoint would exceed a cap.
    """
    from preflab.contest.files import check_output, write_contest
    from preflab.contest.hold import hold_contest
    from preflab.contest.make import make_contest

    contest = replace(
        make_contest(contestants, testbed, judge, decoding, device),
        prompts=prompts,
        seed=seed,
        labels=None if labels is None else user_path(str(labels)),
        agreement=[user_path(str(path)) for path in agreement],
    )
    if output is not None:
        check_output(Path(output))
    held = hold_contest(contest, say)
    if output is not None:
        write_contest(held, Path(output))
    return held.result


def ask_people(
    contestants: Sequence[str],
    *,
    testbed: Any,
    output: str | Path,
    page: Callable[[Path], None] | None = None,
    judge: Any = "human",
    prompts: int = 100,
    seed: int = 0,
    with_judge: str | Path | None = None,
    decoding: dict[str, Any] | None = None,
    device: str = "auto",
    say: Say = keep_silent,
) -> ContestResult | None:
    """Lets people compare the answers of contestants to the same prompts. Returns the same record as
    `measure_win_rates`, or None as long as fewer than two prompts have labels for all their pairs. The directory
    `output` keeps the pairs and the labels, so a repeated call uses the same answers and adds new labels.

    `page`: a function that takes the directory and returns when people have rated, such as a function that calls
    `preflab.rating.serve` or `import_labels`. If `page` is None, only the labels already in the directory count.
    `judge`: settings as in `JudgeSettings`. Contestants of the form `openai:MODEL` are asked at the `endpoint` of these
    settings. `with_judge`: the `output` of an earlier `measure_win_rates` on the same pairs; people's agreement with
    its judge is then measured. The other parameters are those of `measure_win_rates`. Raises `UserError` if the
    directory holds another contest.
    """
    from preflab.contest.files import check_output, write_heard
    from preflab.contest.make import make_contest
    from preflab.contest.people import hear_people, prepare_people

    contest = replace(make_contest(contestants, testbed, judge, decoding, device), prompts=prompts, seed=seed)
    folder = Path(output)
    check_output(folder)
    ballot = prepare_people(contest, folder, say)
    if page is not None:
        page(folder)
    result = hear_people(contest, ballot, folder, say, None if with_judge is None else Path(with_judge))
    if result is not None:
        write_heard(result, folder)
    return result


def _measurements(run: Trained) -> Measurements:
    """Returns what evaluators measured on the test split. Raises `UserError` if the run was not measured."""
    if run.diverged:
        raise UserError(f"The run in {run.directory} diverged, so it was not measured. Lower the learning rate.")
    if not isinstance(run.result.evaluation, Measurements):
        raise UserError(f"The run in {run.directory} was not measured. Repeat the run with an evaluator.")
    return run.result.evaluation


def _problems(run: Trained) -> Mapping[str, ProblemScores]:
    """Returns the test scores of a run, by problem."""
    return _measurements(run).chosen.problems


def _scores(runs: Sequence[Trained], worst: Mapping[str, float]) -> Scores:
    """Returns the score table of one side, over the problems that this side's runs answered. `compare_scores` raises an
    error if the two sides answered different problems."""
    tables = [None if run.diverged else _problems(run) for run in runs]
    names = tuple(next((table for table in tables if table is not None), worst))
    rows = [[worst[name] if table is None else mean(table[name].scores) for name in names] for table in tables]
    diverged = tuple(run.result.seed for run in runs if run.diverged)
    return Scores(np.array(rows), tuple(run.result.seed for run in runs), names, diverged)
