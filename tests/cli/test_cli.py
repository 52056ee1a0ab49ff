"""The command line: help, mistakes in the user's words with exit code 2, and what each command prints."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from preflab.cli import COMMANDS, main
from preflab.cli.arm_options import arm_from_options, evaluation_arm
from preflab.cli.evaluate import EVALUATE_COMMAND
from preflab.cli.train import TRAIN_COMMAND


def run(*words: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stduy", "quickstart"], "Did you mean 'study'"),
        (["theory", "chek"], "Did you mean 'theory check'"),
        (["theory"], "needs one more word. Name one of: theory counterexample"),
        (["study", "quikstart"], "Did you mean 'quickstart'"),
        (["study", "quickstart", "--arms", "pppo"], "Did you mean 'ppo'"),
        (["study", "quickstart", "--arms", "ppo", "--nonsense"], "no option '--nonsense'"),
        (["study", "quickstart", "--arm", "ppo"], "no option '--arm'. Did you mean '--arms'"),
        (["study", "--sede=3"], "no option '--sede'. Did you mean '--seeds'"),
        (["study"], "NAME|FILE"),
        (["study", "quickstart", "-q", "-v"], "not allowed with"),
        (["judge", "--problem", "x"], "no option '--problem'. Did you mean '--problems'"),
        (["sandbox", "check", "x"], "Unrecognized arguments: x"),
        (["study", "quickstart", "--data", "x"], "brings its own data"),
        (["study", "quickstart", "--size", "paper"], "no size 'paper'"),
        (["study", "missing.yaml"], "no file missing.yaml"),
        (["train", "dop"], "Did you mean 'dpo'"),
        (["train"], "Name a method"),
        (["train", "dpo", "--betta", "1"], "no option '--betta'. Did you mean '--beta'"),
        (["train", "dpo", "--optim.lerning-rate=1"], "Did you mean '--optim.learning-rate'"),
        (["train", "dpo", "--epochs", "x"], "'--epochs x' does not fit"),
        (["train", "sft", "--epochs", "0"], "`epochs`"),
        (["train", "sft", "--batch-size", "0"], "`batch_size`"),
        (["train", "sft", "--examples", "-1"], "`examples`"),
        (["train", "dpo", "--beta", "-1"], "`beta`"),
        (["train", "dpo", "--optim.learning-rate", "nan"], "`learning_rate`"),
        (["train", "sft", "--token-budget", "0"], "`token_budget`"),
        (["train", "sft", "--threads", "0"], "`threads`"),
        (["study", "quickstart", "--seeds", "0"], "at least one seed"),
        (["study", "quickstart", "--seeds", "-1"], "at least one seed"),
        (["sample", "./nowhere", "-k", "0"], "-k must be at least 1"),
        (["sample", "./nowhere", "--max-new-tokens", "0"], "`max_new_tokens`"),
        (["data", "show", "minicode", "--show", "-1"], "--show"),
        (["data", "minicode", "--show", "-1"], "--show"),
        (["data"], "Name one of: data show"),
        (["train", "dpo", "--testbed", "minicod"], "Did you mean 'minicode'"),
        (["train", "ppo", "--reward", "test"], "Did you mean 'tests'"),
        (["train", "dpo", "--evaluator", "hiden-tests"], "Did you mean 'hidden-tests'"),
        (["evaluate", "nowhere"], "no directory nowhere"),
        (["report", "nowhere"], "holds no study"),
        (["models", "fetch", "gpt-5"], "gpt-5"),
        (["sample", "./nowhere", "--prompt", "x"], "nowhere"),
        (["data", "jsonl", "--data", "missing.jsonl"], "missing.jsonl"),
    ],
)
def test_mistakes(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the user: one message that names what was wrong and the nearest right name, exit code 2, no traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, _, err = run(*words, capsys=capsys)
    assert code == 2
    assert said in err
    assert err.startswith("preflab: ") and "Traceback" not in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("manifest", "said"),
    [("{", "is damaged"), ('{"name": "theirs"}', "not the manifest of a study"), ("[]", "not the manifest of a study")],
)
def test_a_plan_is_refused_where_its_run_would_be(
    manifest: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects from a plan that promises what the study then refuses: a directory whose `study.json` is another's."""
    (tmp_path / "study.json").write_text(manifest)
    code, _, err = run("study", "quickstart", "--plan", "--output", tmp_path, capsys=capsys)
    assert code == 2
    assert said in err
    assert (tmp_path / "study.json").read_text() == manifest


def test_who_stops_reading_gets_no_traceback() -> None:
    """Protects `preflab ... | head`: the reader has gone, which is no failure to be explained."""
    command = f"{sys.executable} -m preflab train --help | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    assert ended.returncode in (0, 141)


def test_the_token_budget_reaches_the_run(tmp_path: Path) -> None:
    """Protects the advice given when memory runs out: --token-budget is the run's micro-batch, in both commands."""
    options = TRAIN_COMMAND.parser().parse_args(["sft", "--token-budget", "512"])
    assert arm_from_options(options, []).token_budget == 512
    options = EVALUATE_COMMAND.parser().parse_args([str(tmp_path), "--token-budget", "512"])
    assert evaluation_arm(options).token_budget == 512


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


def test_unknown_keys_are_refused_at_every_depth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects study files from options that nobody reads, deep inside too."""
    file = tmp_path / "mine.yaml"
    text = "name: x\ntestbed: minicode\narms:\n  a: {method: {kind: dpo, optim: {learning_rat: 1}}}\n"
    file.write_text(text)
    code, _, err = run("study", file, capsys=capsys)
    assert code == 2
    assert "learning_rat" in err and "Did you mean 'learning_rate'" in err
    file.write_text(
        "name: x\ntestbed: minicode\nams: {}\narms: {a: {method: dpo, init: 'stage:sfft'}}\nstages: {sft: {method: sft}}\n"
    )
    code, _, err = run("study", file, capsys=capsys)
    assert code == 2
    assert "ams" in err


def test_a_stage_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects a study from a reference into the void."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: x\ntestbed: minicode\narms: {a: {method: dpo, init: 'stage:sfft'}}\nstages: {sft: {method: sft}}\n"
    )
    code, _, err = run("study", file, capsys=capsys)
    assert code == 2
    assert "Did you mean 'sft'" in err


def test_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects `--help`: it works for every command, and a method's help lists its hyper-parameters with defaults."""
    for command in COMMANDS:
        code, out, _ = run(*command.split(), "--help", capsys=capsys)
        assert code == 0
        assert "usage" in out
    code, out, _ = run("train", "dpo", "--help", capsys=capsys)
    assert code == 0
    assert "--beta" in out and "64" in out and "--optim.learning-rate" in out


def test_studies_and_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects what a newcomer asks first: the presets with a line each, and a JSON Schema with every variant."""
    code, out, _ = run("studies", capsys=capsys)
    assert code == 0
    assert "quickstart" in out and "hh-smollm2" in out
    code, out, _ = run("studies", "--schema", capsys=capsys)
    schema = json.loads(out)
    assert code == 0
    assert "method:ppo" in schema["$defs"]
    assert schema["$defs"]["method:ppo"]["properties"]["clip"]["default"] == 0.2


def test_a_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the way to a command of two words: `preflab theory --help` lists those that begin so, and no others."""
    code, out, _ = run("theory", "--help", capsys=capsys)
    assert code == 0
    names = re.findall(r"^  (theory \w+) ", out, flags=re.MULTILINE)
    assert names == ["theory counterexample", "theory check", "theory synthetic"]
    assert "data show" not in out


def test_data_in_both_spellings(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects scripts of `preflab data TESTBED`, the older spelling of `preflab data show TESTBED`: the output is the same."""
    words = ("minicode", "--show", "1")
    code, out, _ = run("data", "show", *words, capsys=capsys)
    assert code == 0
    assert "demonstrations" in out and "user:" in out
    assert run("data", *words, capsys=capsys) == (0, out, "")


def test_torch_stays_out_of_the_plain_commands() -> None:
    """Protects start-up time: listing studies, asking for help and reading a report need no torch."""
    probe = (
        "import sys\nfrom preflab.cli import main\n"
        "try:\n    main(['studies'])\nexcept SystemExit:\n    pass\n"
        "import preflab.api\n"
        "print('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
