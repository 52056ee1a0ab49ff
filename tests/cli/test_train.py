"""`preflab train` and `preflab evaluate`: from options to an arm, and what a run prints."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from torch.utils.checkpoint import checkpoint

from preflab.arm.spec import Arm
from preflab.cli import run_command
from preflab.cli.arm_options import arm_from_options, evaluation_arm
from preflab.cli.evaluate import EVALUATE_COMMAND
from preflab.cli.option_texts import SETTING_TEXTS
from preflab.cli.spec_options import describe_options, list_options
from preflab.cli.train import TRAIN_COMMAND
from preflab.errors import UserError
from preflab.evaluation import EVALUATORS
from preflab.evaluation.base import EvaluatorSpec
from preflab.evaluation.held_out_reward import HeldOutReward
from preflab.methods import METHODS
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.train.sealed import write_sealed

from .running import run


def test_the_token_budget_reaches_the_run(tmp_path: Path) -> None:
    """Protects the advice given when memory runs out: --token-budget is the run's micro-batch, in both commands."""
    options = TRAIN_COMMAND.parser().parse_args(["sft", "--token-budget", "512"])
    assert arm_from_options(options, []).token_budget == 512
    options = EVALUATE_COMMAND.parser().parse_args([str(tmp_path), "--token-budget", "512"])
    assert evaluation_arm(options).token_budget == 512


def test_recomputed_layers_train_the_same_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects `--checkpoint-activations`: it reaches the layers of policy and run, and changes no weight."""
    words = ["sft", "--examples", "8", "--batch-size", "4", "--epochs", "1", "--no-evaluate", "--quiet"]
    made: list[bytes] = []
    for name, more in (("plain", []), ("saving", ["--checkpoint-activations"])):
        with mock.patch("preflab.models.recompute.checkpoint", wraps=checkpoint) as recomputed:
            assert run("train", *words, *more, "--output", tmp_path / name, capsys=capsys)[0] == 0
        assert bool(recomputed.call_count) == (name == "saving")
        made.append((tmp_path / name / "final" / "model.safetensors").read_bytes())
    assert made[0] == made[1]


def test_verbose_says_every_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects `-v`: a line a step on standard error and in the run's log, in place of the progress bar."""
    logger = logging.getLogger("preflab")
    words = ["sft", "--examples", "4", "--batch-size", "2", "--epochs", "1", "--no-evaluate", "-v"]
    try:
        code, _, err = run("train", *words, "--output", tmp_path / "run", capsys=capsys)
    finally:
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
    assert code == 0
    for text in (err, (tmp_path / "run" / "run.log").read_text()):
        assert re.findall(r"DEBUG sft: +(\d+)%  step (\d+)  loss", text) == [("50", "1"), ("100", "2")]


def test_samples_are_the_methods_where_it_has_them() -> None:
    """Protects `expert-iteration --samples 3`, which was taken for the samples of the measurement and left the method at its
    default; other methods measure with so many. No other option of `train` has the name of a method's."""
    for method, own, measured in (("expert-iteration", 3, 8), ("sft", None, 3)):
        options, more = TRAIN_COMMAND.parser().parse_known_args([method, "--samples", "3", "--k", "1"])
        arm = arm_from_options(options, more)
        assert getattr(arm.method, "samples", None) == own
        assert arm.evaluation.samples == measured and arm.evaluation.k == (1,)
    options = {action for action in TRAIN_COMMAND.parser().format_help().split() if action.startswith("--")}
    shared = {name for method in METHODS.names() for name in list_options(METHODS.load(method)) if name in options}
    assert shared == {"--samples"}


def test_k_follows_the_samples(tmp_path: Path) -> None:
    """`evaluate --samples 2` measures pass@1 alone: the default k of 5 needs 5 samples. A k that is given is kept."""
    for samples, k in ((1, (1,)), (2, (1,)), (5, (1, 5)), (8, (1, 5))):
        options = EVALUATE_COMMAND.parser().parse_args([str(tmp_path), "--samples", str(samples)])
        assert evaluation_arm(options).evaluation.k == k
    options = EVALUATE_COMMAND.parser().parse_args([str(tmp_path), "--samples", "2", "--k", "2"])
    assert evaluation_arm(options).evaluation.k == (2,)


def test_options_are_written_in_full() -> None:
    """Protects a method's options from abbreviations of the command's: `--n 4` of best-of-n was taken for `--no-evaluate`."""
    options, more = TRAIN_COMMAND.parser().parse_known_args(["best-of-n", "--n", "4"])
    arm = arm_from_options(options, more)
    assert getattr(arm.method, "n", None) == 4
    assert arm.evaluators


class Brevity(EvaluatorSpec):
    """An evaluator that the user wrote, with settings."""

    words: int
    strict: bool = False

    def open(self, context: Context) -> Any: ...


def started(monkeypatch: pytest.MonkeyPatch, *words: str) -> Arm:
    """Returns the arm that a command line starts."""
    arms: list[Arm] = []

    def keep(arm: Arm, *rest: Any, **more: Any) -> Any:
        arms.append(arm)
        raise UserError("kept")

    monkeypatch.setattr("preflab.arm.execute.execute", keep)
    with pytest.raises(UserError, match="kept"):
        run_command(words)
    return arms[0]


@pytest.mark.parametrize("command", ["train sft", "evaluate ."])
def test_settings_of_testbed_and_evaluator(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings on the command line may be numbers, several values or settings of nested specs. Options of the command
    may stand between them."""
    words = ["--evaluator", f"{__name__}:Brevity", "--evaluator.words", "3", "--json", "--evaluator.strict"]
    arm = started(
        monkeypatch, *command.split(), *words, "--testbed.train=7", "--testbed.wrong-share", ".5", "--seed", "4"
    )
    assert list(arm.evaluators.values()) == [Brevity(words=3, strict=True)]
    assert (arm.testbed.train, arm.testbed.wrong_share, arm.testbed.seed, arm.seed) == (7, 0.5, 0, 4)
    data = ["--testbed", "jsonl", "--data", "a b.jsonl", "--rows", "5"]
    data += ["--model", "tiny"] if command.startswith("train") else []
    data += ["--testbed.validation", ".2", "--testbed.test", "held.csv", "--testbed.fields", "prompt", "question"]
    arm = started(monkeypatch, *command.split(), *data, "--evaluator", "src", "--evaluator.model.std", "2")
    spec = arm.testbed
    assert (spec.data, spec.rows, spec.validation, spec.test) == ("a b.jsonl", 5, 0.2, "held.csv")
    assert spec.fields == {"prompt": "question"}
    [reward_model] = arm.evaluators.values()
    assert isinstance(reward_model, HeldOutReward)
    assert (reward_model.model.path, reward_model.model.std) == ("src", 2.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--testbed.traim 3", "has no option '--testbed.traim'. Did you mean '--testbed.train'"),
        ("--testbed.train x", "minicode: the options '--testbed.train x' are invalid. See `--testbed minicode --help`"),
        ("--testbed.train 0", "`train`: Input should be greater than or equal to 1 (given: 0)"),
        ("--testbed jsonl --testbed.validation .2", "The testbed 'jsonl' needs --testbed.data."),
        (
            "--testbed jsonl --data a --testbed.data b",
            "--data and --testbed.data are the same setting. Give only one of them.",
        ),
        ("--testbed.train 3 --testbed.train 4", "The option --testbed.train is given twice"),
        ("--evaluator hidden-tests --evaluator.words 3", "has no option '--evaluator.words'. It has no options."),
        ("--evaluator reward-model --evaluator.model.std 2", "needs --evaluator.model.path"),
        ("--evaluator.words 3", "--evaluator.words is a setting of an evaluator. Name the evaluator with --evaluator."),
    ],
)
@pytest.mark.parametrize("command", ["train sft", "evaluate ."])
def test_wrong_settings(command: str, words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A setting is refused if it is unknown, missing or given twice, or if its value is of the wrong type or out of
    range."""
    code, out, err = run(*command.split(), *words.split(), capsys=capsys)
    assert code == 2 and not out and said in err


def test_settings_beside_a_run_file_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A run file would override such a setting without a warning."""
    code, _, err = run("train", "--run", "mine.json", "--testbed.train", "3", capsys=capsys)
    assert code == 2 and "The run file (--run) sets the method, the testbed, the evaluator" in err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--seed 3", "--seed"),
        ("--device cpu --k=1", "--device, --k"),
        ("--lora 4 --no-evaluate -q --output x", "--lora, --no-evaluate"),
        ("--beta .1", "--beta"),
        ("dpo --model tiny", "dpo, --model"),
        ("--evaluator.words 3 --fresh", "--evaluator.words"),
    ],
)
def test_options_beside_a_run_file_are_refused(words: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The file sets the seed, the device and all else, so that such an option had no effect, without a word."""
    code, _, err = run("train", "--run", "mine.json", *words.split(), capsys=capsys)
    assert code == 2 and f"These words would be ignored: {named}. Set them in mine.json, or leave --run out." in err
    taken = ("--output", "x", "--fresh", "--json", "-q", "--push", "me/x")
    code, _, err = run("train", "--run", "no.json", *taken, capsys=capsys)
    assert code == 2 and "no file no.json" in err


JSONL = "--testbed jsonl --data a.jsonl"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train sft --reward tests", "--reward would be ignored: sft uses no reward with these settings."),
        (
            "train ppo --reward tests --preferences a.jsonl",
            "--preferences would be ignored: ppo learns from prompts, not from pairs.",
        ),
        ("train ppo --reward tests --cost math:fsum", "--cost would be ignored: ppo uses no cost."),
        ("train dpo --model tiny --init b", "--model would be ignored: --init names the model to start from."),
        ("train warm --models a b --lora 4", "--lora would be ignored: warm does not start from a policy."),
        ("train sft --no-evaluate --k 1", "--k would be ignored: --no-evaluate leaves out the measurement."),
        (
            "train rm --max-new-tokens 9",
            "--max-new-tokens would be ignored: rm makes no policy that could be measured.",
        ),
        (
            f"train sft --model tiny {JSONL} --temperatures 1",
            "--temperatures would be ignored: the run has no evaluator",
        ),
        (f"evaluate . {JSONL} --samples 2", "--samples would be ignored: the run has no evaluator"),
        ("evaluate . --model tiny", "`preflab evaluate` has no option '--model'."),
        ("study smoke --tune", "The study 'smoke' has no tuning stage for its arms."),
        ("study smoke --tune --plan", "The study 'smoke' has no tuning stage for its arms."),
    ],
)
def test_options_without_effect_are_refused(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the user, who took the result for that of the option: it had no effect, without a word."""
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*words.split(), capsys=capsys)
    assert code == 2 and said in err


def test_options_with_an_effect_are_taken() -> None:
    """A reward that chooses among answers, pairs from a file, adapters on a start, and the samples of a method act."""
    taken = (
        "best-of-n --selector reward --reward tests",
        "dpo --preferences a.jsonl --init b --lora 2",
        "kto --preferences a.jsonl",
        "ppo-lag --reward tests --cost math:fsum --threshold -1 --multiplier-rate 0.2",
    )
    for words in (*taken, "expert-iteration --reward tests --samples 3 --no-evaluate", "sft --no-evaluate --seed 3"):
        options, more = TRAIN_COMMAND.parser().parse_known_args(words.split())
        arm_from_options(options, more)


def test_help_lists_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """Every setting of the testbeds and evaluators that come with preflab has a text, and `--help` lists the
    settings."""
    for registry in (TESTBEDS, EVALUATORS):
        for name in registry.known:
            for option in describe_options(registry.load(name), texts=SETTING_TEXTS):
                assert not option.text.startswith(" ("), f"{name} {option.name}"
    for words in (["train", "dpo"], ["train"], ["evaluate"]):
        code, out, _ = run(*words, "--testbed", "jsonl", "--evaluator", "reward-model", "--help", capsys=capsys)
        assert code == 0
        assert "--testbed.data NAME" in out and "--evaluator.model.path NAME" in out and "--token-budget" in out


def test_help_of_a_method(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the way to a method's hyper-parameters: they come first, each with what it does, its choices (the losses with
    their own settings) and the default of this method: DPO's learning rate is 1e-6, that of its optimizer's class 1e-5."""
    code, out, _ = run("train", "dpo", "--help", capsys=capsys)
    assert code == 0
    assert out.startswith("usage: preflab train dpo [OPTIONS]\n")
    words = " ".join(out.split())
    assert words.index("--beta X") < words.index("options of every method") < words.index("--token-budget")
    assert "the preference loss; one of: sigmoid (beta 0.1)" in words and "simpo (beta 2.0, gamma 1.0)" in words
    assert "highest learning rate (default: 1e-06)" in words and "one of: cosine, linear, constant" in words
    code, out, _ = run("train", "--help", capsys=capsys)
    assert code == 0
    assert out.startswith("usage: preflab train METHOD [OPTIONS OF THE METHOD] [OPTIONS]")
    assert all(name in out for name in METHODS.names()) and "--beta" not in out


@pytest.mark.parametrize("method", METHODS.names())
def test_every_option_says_what_it_does(method: str) -> None:
    """No option stands in the help without a text, and the options are those that the command takes: all of `list_options`."""
    options = describe_options(METHODS.load(method))
    assert [option.name.partition(",")[0] for option in options] == list_options(METHODS.load(method))
    assert not [option.name for option in options if option.text.startswith(("(", ";"))]


def test_a_base_model_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects a user who forgets `--model`: data of their own trained a new network of 0.35M parameters and exited with 0. An
    embedded testbed needs no model, `warm` trains none, and a start or a named `tiny` is enough. The same holds for a run file
    and for a study's arm, which are arms too."""
    data = tmp_path / "mine.jsonl"
    data.write_text('{"prompt": "Say yes.", "chosen": "Yes.", "rejected": "No."}\n')
    own = ["--testbed", "jsonl", "--data", str(data)]
    for words in (["dpo", *own], ["dpo", *own, "--lora", "4"]):
        code, _, err = run("train", *words, "--output", tmp_path / "run", capsys=capsys)
        assert code == 2 and "has no model to start from" in err
        assert not (tmp_path / "run").exists()
    named = (["dpo", *own, "--model", "tiny"], ["dpo", *own, "--init", "x"], ["dpo"])
    for words in (*named, ["warm", *own, "--models", "a", "b"]):
        options, more = TRAIN_COMMAND.parser().parse_known_args(words)
        assert arm_from_options(options, more).model.name == "tiny"
    study = tmp_path / "mine.yaml"
    study.write_text(
        f"name: mine\ntestbed: {{kind: jsonl, data: {data}}}\n"
        "evaluator: {kind: reward-model, model: {path: rm}}\narms: {dpo: {method: dpo}}\n"
    )
    code, _, err = run("study", study, "--plan", capsys=capsys)
    assert code == 2 and "`dpo` has no model to start from" in err


def test_a_fault_of_a_run_file_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is found only when its parts are opened is said of the file too: a device that is not here."""
    path = tmp_path / "run.yaml"
    path.write_text("name: a\ntestbed: minicode\nmethod: sft\ndevice: abacus\n")
    code, _, err = run("train", "--run", path, "--output", tmp_path / "out", capsys=capsys)
    assert code == 2 and f"{path}: The device 'abacus' cannot be used here" in err


def test_a_finished_run_stands_for_its_policy(tmp_path: Path) -> None:
    """Protects `evaluate RUN`, `--start RUN` and `--init RUN`: each takes the model in `final/`, as `push RUN` sends it; a run
    that has not finished is refused, and the directory of a model stays as it was typed."""
    directory = tmp_path / "run"
    (directory / "final").mkdir(parents=True)
    (directory / "final" / "config.json").write_text("{}")
    write_sealed(directory / "manifest.json", {"format": 1, "spec": {}})
    words = [str(directory), "--start", str(directory), "--testbed", "minicode"]
    with pytest.raises(UserError, match="has not finished"):
        evaluation_arm(EVALUATE_COMMAND.parser().parse_args(words))
    write_sealed(directory / "result.json", {"diverged": None, "counts": {}})
    arm = evaluation_arm(EVALUATE_COMMAND.parser().parse_args(words))
    assert arm.policy == arm.init == str(directory / "final")
    options = TRAIN_COMMAND.parser().parse_args(["sft", "--testbed", "minicode", "--init", str(directory)])
    assert arm_from_options(options, []).init == str(directory / "final")
    typed = f"{directory}/final/."
    arm = evaluation_arm(EVALUATE_COMMAND.parser().parse_args([typed, "--testbed", "minicode"]))
    assert arm.policy == typed
