"""`preflab winrate`: asks a preference judge to compare the answers of two or more contestants."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from preflab.cli.command import CliCommand
from preflab.cli.endpoint_options import add_endpoint_options, endpoint_from_options
from preflab.cli.options import add_data_options, add_json_option, print_json, testbed_from_options
from preflab.errors import UserError
from preflab.paths import user_path

if TYPE_CHECKING:
    from preflab.contest.record import ContestResult


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "contestants",
        metavar="[NAME=]SOURCE",
        nargs="*",
        help="two or more: a model (a directory, a finished run, a hub name), data:chosen, openai:MODEL, or a JSONL file of "
        "answers. Several sources with commas between them are several seeds",
    )
    add("-h", "--help", action="store_true", help="show this help and the settings of the testbed")
    add("--judge", metavar="KIND:MODEL", help="openai:MODEL, local:NAME|DIR, reward:DIR, or human")
    add(
        "--testbed",
        metavar="NAME",
        help="the testbed whose test prompts are answered; `--testbed.SETTING VALUE` gives a setting",
    )
    add_data_options(parser)
    add("--prompts", metavar="N", type=int, default=100, help="number of prompts, drawn with the seed (default: 100)")
    add("--seed", metavar="N", type=int, default=0, help="the seed of every draw (default: 0)")
    add("--agreement", metavar="FILE", nargs="+", default=(), help="labelled pairs on which the judge is checked first")
    add(
        "--labels",
        metavar="FILE|DIR",
        help="people's labels of judged pairs, which correct the win rate: a file, or the output of --judge human",
    )
    add(
        "--template",
        metavar="NAME|FILE",
        default="",
        help="the prompt template of the judge (default: the paper's template)",
    )
    add(
        "--margin",
        metavar="X",
        type=float,
        default=0.0,
        help="reward:DIR: largest score difference of a tie (default: 0)",
    )
    add("--max-new-tokens", metavar="N", type=int, default=256, help="longest answer of a contestant (default: 256)")
    add(
        "--temperature",
        metavar="T",
        type=float,
        default=1.0,
        help="sampling temperature of the contestants; 0 is greedy (default: 1)",
    )
    add("--device", metavar="NAME", default="auto", help="auto, cpu or cuda (default: auto)")
    add(
        "--output", metavar="DIR", type=user_path, help="write winrate.json, winrate.md, verdicts.jsonl and pairs.jsonl"
    )
    add_json_option(parser)
    add = add_endpoint_options(parser, cache="preflab's cache").add_argument
    add("--max-tokens", metavar="N", type=int, help="longest reply of the judge in tokens (default: 300)")
    _add_people_options(parser)


def _add_people_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("human").add_argument
    add("--port", metavar="N", type=int, help="the port of the page; 0 for any (default: 8765)")
    add("--raters", metavar="N", type=int, help="the page ends when every pair has N labels (default: 1)")
    add("--rater", metavar="NAME", help="the rater's name that the page fills in at first")
    add("--question", metavar="TEXT", help="the question to the raters (default: Which answer is more helpful?)")
    add("--export", metavar="FILE", type=user_path, help="write the page into one HTML file for raters elsewhere")
    add("--import", metavar="FILE", dest="sent", type=user_path, help="add labels that a rater saved on such a page")
    add(
        "--with-judge",
        metavar="DIR",
        type=user_path,
        help="the output of an earlier winrate on the same pairs; its judge is compared with the raters",
    )


def _run(options: argparse.Namespace) -> None:
    if options.help:
        _print_help(options)
        return
    if options.judge is None or options.testbed is None:
        missing = "--judge" if options.judge is None else "--testbed"
        raise UserError(f"Give {missing}: preflab winrate A B --testbed NAME --judge openai:MODEL.")
    from preflab.api import measure_win_rates
    from preflab.evaluation.preference.spec import HUMAN

    if options.prompts < 2:
        raise UserError(f"--prompts must be at least 2, not {options.prompts}.")
    if options.seed < 0:
        raise UserError(f"--seed must be 0 or more, not {options.seed}.")
    if options.judge == HUMAN:
        from preflab.cli.winrate_people import run_by_people

        run_by_people(options, judge_from_options(options), _say, print_result)
        return
    refuse_people_options(options)
    result = measure_win_rates(
        options.contestants,
        testbed=testbed_from_options(options),
        judge=judge_from_options(options),
        prompts=options.prompts,
        seed=options.seed,
        labels=options.labels,
        agreement=options.agreement,
        decoding={"max_new_tokens": options.max_new_tokens, "temperature": options.temperature},
        output=options.output,
        device=options.device,
        say=_say,
    )
    print_result(result, options)


def print_result(result: ContestResult, options: argparse.Namespace) -> None:
    """Prints the result as JSON or as a Markdown page."""
    from preflab.contest.markdown import describe_contest

    if options.json:
        print_json(result.model_dump(mode="json"))
    else:
        _print_page(describe_contest(result))


def refuse_people_options(options: argparse.Namespace) -> None:
    """Raises `UserError` for an option that needs `--judge human` if the judge is not human."""
    given = {
        "port": options.port,
        "raters": options.raters,
        "rater": options.rater,
        "question": options.question,
        "export": options.export,
        "import": options.sent,
        "with-judge": options.with_judge,
    }
    for name, value in given.items():
        if value is not None:
            raise UserError(f"--{name} applies only if people judge. Remove this option, or give --judge human.")


def judge_from_options(options: argparse.Namespace) -> Any:
    """Returns the settings of the judge that the options name. Raises `UserError` for an option that has no effect on
    this judge."""
    from preflab.evaluation.preference.spec import JudgeSettings
    from preflab.spec import parse_spec

    own = {} if options.max_tokens is None else {"max_tokens": options.max_tokens}
    endpoint = endpoint_from_options(options) | own
    uses_endpoint = options.judge.startswith("openai:") or any("openai:" in text for text in options.contestants)
    unused = [name for name in endpoint if name != "cache" or not options.judge.startswith("local:")]
    if unused and not uses_endpoint:
        name = unused[0].replace("_", "-")
        raise UserError(
            f"--{name} is an option of an endpoint, but neither the judge nor a contestant is openai:MODEL. Remove the option."
        )
    if options.margin and not options.judge.startswith("reward:"):
        raise UserError(
            "--margin applies only if a reward model judges. Remove this option, or give --judge reward:DIR."
        )
    settings = {"judge": _find_model(options.judge), "template": options.template, "margin": options.margin}
    return parse_spec(JudgeSettings, {**settings, "endpoint": endpoint}, where="winrate")


def _find_model(judge: str) -> str:
    """Returns the judge's name. If the name contains the directory of a finished run, replaces this directory by the
    directory of the run's trained model."""
    from preflab.arm.saved import find_saved_model

    kind, _, model = judge.partition(":")
    path = user_path(model)
    return f"{kind}:{find_saved_model(path)}" if kind in ("local", "reward") and path.is_dir() else judge


def _say(line: str) -> None:
    from preflab.terminal import Terminal

    Terminal(stderr=True, wide=True).print(line, markup=False, highlight=False, soft_wrap=True)
    sys.stderr.flush()


def _print_page(page: str) -> None:
    from preflab.terminal import Terminal

    Terminal(wide=True).print(page.rstrip(), markup=False, highlight=False, soft_wrap=True)


def _print_help(options: argparse.Namespace) -> None:
    print(WINRATE_COMMAND.parser().format_help())
    if options.testbed is not None:
        from preflab.cli.spec_options import format_part_help
        from preflab.testbeds import TESTBEDS

        print(format_part_help(TESTBEDS, options.testbed))


WINRATE_COMMAND = CliCommand(
    "winrate", "compare answers by a preference judge", _add_options, _run, own_help=True, parts=("testbed",)
)
