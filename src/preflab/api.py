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
from preflab.study.launchers.site import choose_launcher
from preflab.study.results.make import study_results
from preflab.study.run import run_missing
from preflab.study.say import Say, keep_silent, say_on_stderr
from preflab.study.spec import Study
from preflab.train.directory import locked
from preflab.train.files import naming_failures
from preflab.train.ownership import FINAL
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
        """The test score under the first decoding setting of the evaluation. By default, this setting is greedy
        decoding. Raises `UserError` if the run was not measured on the test split."""
        return _measurements(self).chosen.score


@dataclass(frozen=True)
class StudyOutcome:
    """The outcome of a study. `results`: the study's results. `page`: the path of the HTML report. `failures`: one
    sentence for each run that failed."""

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
    """Trains with one method in this process and measures the trained model. If the directory `output` contains an
    unfinished run with the same arguments, resumes this run. If that run is finished, returns it without training.

    `settings`: the method's hyper-parameters. `arm`: other fields of `Arm`, such as `model`, `testbed` and
    `evaluators`. By default, the testbed is `minicode`, and its hidden tests measure the model. Raises `UserError` for
    an unknown method, field or setting.
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
    """Compares two methods by the difference of their test scores, paired by problem and by seed. `first` and `second`
    are the runs of the first and of the second method. Uses only the seeds for which both methods have a run.

    A diverged run has no scores of its own. As in a study, its score on a problem is the lowest score that any other
    run has on this problem. If this lowest score is above 0, the diverged run gets 0. Raises `UserError` if a method
    has no run, if a run was not measured, if all runs diverged, or if the two methods share no seed.
    """
    if not first or not second:
        raise UserError("compare: give at least one run of each method.")
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
    on: str | None = None,
) -> StudyOutcome:
    """Executes the unfinished runs of a study, and writes the study's report. Prints the progress on standard error.

    `command`: the command that the report shows for repeating the study. `tune`: run the tuning stage even if the study
    file contains tuned values. `fresh`: first remove the files of earlier calls. `samples`: quote prompts and answers
    in the report. `archives`: files that `preflab export` wrote. Finished runs in these files are not executed again.
    `on`: the launcher that starts the runs, such as "local" or "slurm" (see `preflab.study.launchers.site`). By
    default, the site file chooses; without a site file, the runs run on this machine. Raises `UserError` if the
    directory contains another study, if an archive cannot be read, or if an arm of the study (a method with its
    settings) cannot run.
    """
    directory = Path(directory)
    opened = [Archive(user_path(f"{file}")) for file in archives]
    with locked(directory), naming_failures(directory):
        failures = run_missing(
            study,
            directory,
            command=command,
            tune=tune,
            fresh=fresh,
            quiet=quiet,
            archives=opened,
            launcher=choose_launcher(on),
        )
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
    """Measures policies and writes the same report as a study, with paired intervals. The policies can come from
    preflab or from another tool. If a call is interrupted, a repeated call continues the work. Each policy counts as
    one run. The intervals therefore cover the variation between problems, but not the variation between seeds.

    `policies`: maps the name of each policy to a directory, a finished run or a name on the hub. `testbed`: the name of
    the testbed, or its settings with `kind`. `baseline`: the name of the policy with which all other policies are
    compared. The baseline cannot win. `settings`: other fields of a study file, such as `evaluator` and `evaluation`.
    All other parameters are explained at `run_study`. Raises `UserError` if a policy has changed since it was measured
    in the directory `output`.
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
    """Times the study's models and its judge on this machine. Returns a forecast: the runs that are not finished yet,
    and the time that they would take. `tune`: as in `run_study`. `say`: a function that is called with a line of text
    before each measurement. Raises `UserError` if the directory contains another study, or if the testbed lacks data
    that the measurements need."""
    from preflab.study.forecast.make import forecast_study

    return forecast_study(study, Path(directory), fresh=fresh, tune=tune, say=say)


def report_study(directory: str | Path, *, samples: bool = True) -> tuple[Results, Path]:
    """Writes the report of all runs that have finished so far. Returns the results and the path of the HTML page.
    Raises `UserError` if the directory does not contain a study."""
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
    """Lets a preference judge compare the answers that contestants give to the same prompts. Returns the result with
    all win rates.

    `contestants`: two or more texts of the form `[NAME=]SOURCE`, as on the command line. `testbed`: the name of the
    testbed, or its settings with `kind`. `judge`: a name such as `openai:MODEL`, or the settings of `JudgeSettings`.
    `labels`: a file with people's labels of judged pairs, or the `output` of `ask_people`. The win rates are corrected
    with these labels. `agreement`: files of labelled pairs on which the judge is checked first. `decoding`: how models
    answer (`max_new_tokens`, `temperature`, ...). `output`: the directory for the result, the verdicts and the pairs.
    `say`: a function that is called with a line of text about each next step. Raises `UserError` if an argument is
    wrong. Also raises `UserError` if the number or the cost of the calls to endpoints may exceed the caps in the
    judge's settings. If people are to judge, use `ask_people`.
    """
    from preflab.contest.compare import compare_contestants
    from preflab.contest.files import check_output, write_contest
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
    comparison = compare_contestants(contest, say)
    if output is not None:
        write_contest(comparison, Path(output))
    return comparison.result


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
    """Lets people compare the answers that contestants give to the same prompts. Returns the same kind of result as
    `measure_win_rates`. Returns None if fewer than two prompts have labels for all their pairs. The directory `output`
    stores the pairs and the labels, so a repeated call uses the same answers and adds new labels.

    `page`: a function that is called with the directory and returns after people have rated the pairs, such as a
    function that calls `preflab.rating.serve` or `import_labels`. If `page` is None, uses only the labels that are
    already in the directory. `judge`: settings as in `JudgeSettings`. Contestants of the form `openai:MODEL` answer at
    the `endpoint` in these settings. `with_judge`: the `output` of an earlier `measure_win_rates` on the same pairs.
    The result then also contains people's agreement with the judge of that call. All other parameters are explained at
    `measure_win_rates`. Raises `UserError` if the directory contains the pairs of a call with other settings, such as
    other contestants.
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
    """Returns the evaluators' measurements on the test split. Raises `UserError` if the run was not measured."""
    if run.diverged:
        raise UserError(f"The run in {run.directory} diverged, so it was not measured. Lower the learning rate.")
    if not isinstance(run.result.evaluation, Measurements):
        raise UserError(f"The run in {run.directory} was not measured. Repeat the run with an evaluator.")
    return run.result.evaluation


def _problems(run: Trained) -> Mapping[str, ProblemScores]:
    """Returns the test scores of a run, by problem."""
    return _measurements(run).chosen.problems


def _scores(runs: Sequence[Trained], worst: Mapping[str, float]) -> Scores:
    """Returns the table of one method's scores, over all problems that the method's runs answered. `compare_scores`
    raises an error if the runs of the two methods answered different problems."""
    tables = [None if run.diverged else _problems(run) for run in runs]
    names = tuple(next((table for table in tables if table is not None), worst))
    rows = [[worst[name] if table is None else mean(table[name].scores) for name in names] for table in tables]
    diverged = tuple(run.result.seed for run in runs if run.diverged)
    return Scores(np.array(rows), tuple(run.result.seed for run in runs), names, diverged)
