"""`preflab study`: plans a study, or runs it and prints the path of its report."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from preflab.cli.command import CliCommand
from preflab.cli.options import add_json_option, add_verbosity_options, log_to_terminal, print_json
from preflab.cli.outcome import print_outcome
from preflab.paths import user_path

if TYPE_CHECKING:
    from preflab.study.spec import Study


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("study", metavar="NAME|FILE", help="a preset (see `preflab studies`) or a study file")
    add("--output", metavar="DIR", type=user_path, help="the directory of the study (default: runs/NAME)")
    add("--size", metavar="NAME", help="a size that the study offers (default: paper on a GPU, else smoke)")
    add("--seeds", metavar="N", type=int, help="number of seeds (a larger N adds seeds to a study)")
    add("--first-seed", metavar="N", type=int, help="the first seed (default: 0), to repeat a study with other seeds")
    add("--arms", metavar="ARM", nargs="+", help="run only these arms")
    add("--data", metavar="PATH|NAME", help="the testbed's data: a path or a hub name")
    add(
        "--stage-data",
        metavar="STAGE=PATH",
        nargs="+",
        default=(),
        help="other data for a stage with separate data",
    )
    add("--public-first", metavar="N", type=int, help="make N tests public in problems without a public test")
    add("--model", metavar="NAME|DIR", help="use another base model")
    add("--plan", action="store_true", help="print the stages and the expected hours, and run nothing")
    add("--cluster", metavar="FILE", help="with --plan: plan the runs on the cluster that this file describes")
    add("--tune", action="store_true", help="run the tuning stage even if the study has tuned values")
    add("--fresh", action="store_true", help="delete the study's earlier runs and start again")
    add("--on", metavar="NAME", help="where the runs run: local, ray[:ADDRESS], slurm, or a name of your site file")
    add("--import", dest="archives", metavar="FILE", nargs="+", default=(), help="take finished runs from these files")
    add("--no-samples", dest="samples", action="store_false", help="leave prompts and answers out of the report")
    add_json_option(parser)
    add_verbosity_options(parser, quiet="print only the verdict and failures", verbose="print each arm's steps too")


def _run(options: argparse.Namespace) -> int:
    from preflab.study.launchers.local import keep_single_threaded

    keep_single_threaded()
    from preflab.api import plan_study, run_study
    from preflab.cli.plan import format_plan
    from preflab.errors import UserError, naming_file
    from preflab.study.load import load_study
    from preflab.study.say import keep_silent, say_on_stderr

    if options.verbose:
        log_to_terminal()
    study = load_study(options.study, options.size or choose_size(options.study))
    for name, value in (("data", options.data), ("public_first", options.public_first)):
        if value is not None:
            study = study.with_testbed(**{name: value})
    for stage, data in map(_read_stage_data, options.stage_data):
        study = study.with_stage_data(stage, data)
    if options.model is not None:
        study = study.with_model(options.model)
    if options.first_seed is not None:
        study = study.with_first_seed(options.first_seed)
    study = study.narrowed(options.arms, options.seeds)
    directory = options.output or Path("runs") / study.name
    if options.plan and options.archives:
        raise UserError("--plan does not import runs. Leave --import out.")
    if options.cluster is not None and not options.plan:
        raise UserError("--cluster belongs to --plan. To run the study on a cluster, use --on.")
    if options.cluster is not None and options.tune:
        raise UserError("--plan --cluster does not count the tuning stage. Leave --tune out.")
    if options.plan and options.on is not None and options.cluster is None:
        raise UserError("--plan does not know the machines of --on. Describe them in a file: --plan --cluster FILE.")
    with naming_file(Path(options.study), directory):
        if options.cluster is not None:
            return _plan_on_cluster(study, directory, options)
        if options.plan:
            say = keep_silent if options.quiet else say_on_stderr
            forecast = plan_study(study, directory, fresh=options.fresh, tune=options.tune, say=say)
            print_json(dataclasses.asdict(forecast)) if options.json else print(format_plan(study, forecast))
            return 0
        command = shlex.join(_repeating(options.words))
        settings = {"tune": options.tune, "fresh": options.fresh, "samples": options.samples, "quiet": options.quiet}
        outcome = run_study(study, directory, command=command, archives=options.archives, on=options.on, **settings)
    return print_outcome(outcome, as_json=options.json)


def _plan_on_cluster(study: Study, directory: Path, options: argparse.Namespace) -> int:
    from preflab.cli.scale_plan import format_scale
    from preflab.spec import read_spec
    from preflab.study.forecast.at_scale import forecast_at_scale
    from preflab.study.forecast.cluster import ClusterSpec

    cluster = read_spec(ClusterSpec, user_path(options.cluster))
    forecast = forecast_at_scale(study, directory, cluster, fresh=options.fresh)
    print_json(forecast.as_data()) if options.json else print(format_scale(study, forecast))
    return 0


def _repeating(words: Sequence[str]) -> Iterator[str]:
    """Yields the words of the command that repeats this study. Leaves out `--fresh` and `--import FILE …`, which a
    repetition does not need."""
    skips = False
    for word in words:
        skips = word == "--import" or (skips and not word.startswith("-"))
        if not skips and word != "--fresh" and not word.startswith("--import="):
            yield word


def _read_stage_data(text: str) -> tuple[str, str]:
    """Returns the stage and the path from the text `STAGE=PATH`. Raises `UserError` if the stage or the path is
    missing."""
    from preflab.errors import UserError

    stage, _, data = text.partition("=")
    if not stage or not data:
        raise UserError(f"--stage-data {text!r} is not STAGE=PATH, such as sft-alpaca=path/to/alpaca.json.")
    return stage, data


def choose_size(name: str) -> str:
    """Returns `paper` if the study has the size `paper` and torch finds a GPU. Otherwise returns `smoke`."""
    from preflab.arm.open import pick_device
    from preflab.study.load import PAPER, SMOKE, offers_size

    return PAPER if offers_size(name, PAPER) and pick_device("auto") == "cuda" else SMOKE


STUDY_COMMAND = CliCommand("study", "train and measure every arm of a study, and write the report", _add_options, _run)
