"""The command line as a whole: help, mistakes in the user's words with exit code 2, and a quick start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from preflab import cli
from preflab.cli import COMMANDS
from preflab.endings import DISK_FAULTS

from .running import run

LONG = "x" * 5000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stduy", "quickstart"], "Did you mean 'study'"),
        (["theory", "chek"], "Did you mean 'theory check'"),
        (["theory"], "is a group of commands. Name one of its commands: theory counterexample"),
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
        (["study", "smoke", "--output", "/dev/null"], "/dev/null cannot be written"),
        (["train", "sft", "--output", "/dev/null/x"], "/dev/null/x cannot be written"),
        (["train", "dop"], "Did you mean 'dpo'"),
        (["train"], "Name a method"),
        (["train", "dpo", "--betta", "1"], "no option '--betta'. Did you mean '--beta'"),
        (["train", "dpo", "--optim.lerning-rate=1"], "Did you mean '--optim.learning-rate'"),
        (["train", "dpo", "--epochs", "x"], "the options '--epochs x' are invalid"),
        (["train", "sft", "--epochs", "0"], "`epochs`"),
        (["train", "sft", "--batch-size", "0"], "`batch_size`"),
        (["train", "sft", "--examples", "-1"], "`examples`"),
        (["train", "dpo", "--beta", "-1"], "`beta`"),
        (["train", "dpo", "--optim.learning-rate", "nan"], "`learning_rate`"),
        (["train", "sft", "--temperatures", "-1"], "`evaluation.temperatures.0`"),
        (
            ["train", "sft", "--device", "cud"],
            "The device 'cud' cannot be used here: preflab does not know this device. Name auto, cpu, cuda",
        ),
        (["train", "sft", "--device", "cuda:99"], "The device 'cuda:99' cannot be used here"),
        (["train", "sft", "--device", "cpu:1"], "The device 'cpu:1' cannot be used here: there is no device number 1"),
        (
            ["train", "sft", "--device", "meta"],
            "The device 'meta' cannot be used here: preflab does not know this device. Name auto, cpu, cuda",
        ),
        (["train", "sft", "--device", "cuda:"], "The device 'cuda:' cannot be used here"),
        (["train", "sft", "--device", ""], "The device '' cannot be used here"),
        (["train", "sft", "--evaluator", "a", "--evaluator=b"], "The option --evaluator is given twice"),
        (["train", "dpo", "--beta", ".1", "--beta", ".2"], "The option --beta is given twice"),
        (["train", "dpo", "--batch_size", "1", "--batch-size", "2"], "The option --batch-size is given twice"),
        (["evaluate", ".", "--k", "1", "--k", "2"], "The option --k is given twice"),
        (["train", "ppo", "--reward", "../my.py:score"], "start the command in '..' and write `my:...`"),
        (["train", "ppo", "--reward", "my.py:score"], "start the command in '.' and write `my:...`"),
        (["train", "ppo", "--reward", "a/b:score"], "start the command in 'a' and write `b:...`"),
        (["train", "ppo", "--reward", ".my:score"], "'.my:score' is not a `module:function`"),
        (["train", "ppo", "--reward", "my:"], "'my:' is not a `module:function`"),
        (["train", "dpo", "--loss", "sigmod"], "Did you mean 'sigmoid'"),
        (["train", "dpo", "--loss", "no_such:loss"], "there is no module 'no_such'"),
        (["train", "dpo", "--loss", "math:sqrt"], "The preference loss 'math:sqrt' fails on two pairs"),
        (["train", "online-dpo", "--loss", "builtins:dict"], "The preference loss 'builtins:dict'"),
        (
            ["train", "dpo", "--loss-settings", "epsilon", ".1"],
            "The preference loss 'sigmoid' has no setting 'epsilon'",
        ),
        (["train", "../x:Y"], "'../x:Y' is not a `module:function`"),
        (["train", "--run", "missing.json"], "no file missing.json"),
        (["train", "sft", "--run", "mine.json"], "The run file (--run) sets the method"),
        (["train", "nosuch", "--help"], "Unknown method 'nosuch'"),
        (["train", "sft", "--token-budget", "0"], "`token_budget`"),
        (["train", "sft", "--threads", "0"], "`threads`"),
        (["study", "quickstart", "--seeds", "0"], "at least one seed"),
        (["study", "quickstart", "--seeds", "-1"], "at least one seed"),
        (["sample", "./nowhere", "--seed", "-1"], "--seed must be 0 or more"),
        (["testbed", "verify", "humaneval", "--out", "/dev/null/x"], "--out /dev/null/x cannot be written"),
        (["train", "sft", "--samples", "2", "--k", "5"], "`evaluation`: pass@5 needs 5 samples for each problem"),
        (["train", "sft", "--samples", "0"], "`evaluation.samples`"),
        (["sample", "./nowhere", "-k", "0"], "-k must be at least 1"),
        (["sample", "./nowhere", "--max-new-tokens", "0"], "`max_new_tokens`"),
        (["data", "show", "minicode", "--show", "-1"], "--show"),
        (["data", "minicode", "--show", "-1"], "--show"),
        (["data"], "Name one of its commands: data show, data check"),
        (["data", "show", "minicode", "--data", "x"], "brings its own data: --data does not apply"),
        (["train", "sft", "--data", "x"], "brings its own data: --data does not apply"),
        (["testbed", "verify", "minicode"], "has no programs to verify"),
        (["train", "dpo", "--testbed", "minicod"], "Did you mean 'minicode'"),
        (["train", "ppo", "--reward", "test"], "Did you mean 'tests'"),
        (["train", "dpo", "--evaluator", "hiden-tests"], "Did you mean 'hidden-tests'"),
        (["evaluate", "nowhere"], "no directory nowhere"),
        (["report", "nowhere"], "does not contain a study"),
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
    "words",
    [
        ["evaluate", LONG],
        ["evaluate", "a", "--testbed", "jsonl", "--data", LONG],
        ["report", LONG],
        ["study", f"{LONG}.yaml"],
        ["study", "smoke", "--output", LONG],
        ["train", "sft", "--init", LONG],
        ["train", "sft", "--model", LONG],
        ["train", "ppo", "--reward", LONG],
        ["data", "check", LONG],
        ["sample", LONG, "--prompt", "a"],
        ["push", LONG, "me/x"],
        ["theory", "check", "--replay", LONG],
        ["testbed", "verify", "apps", "--data", LONG],
    ],
    ids=lambda words: " ".join(words)[:30],
)
def test_names_that_no_path_can_have(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A pasted text in the place of a name is a mistake of the user, wherever it stands."""
    code, out, err = run(*words, capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith("preflab: ") and err.count("\n") == 1


def test_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects `--help`: it works for every command, and a method's help lists its hyper-parameters with defaults."""
    for command in COMMANDS:
        code, out, _ = run(*command.split(), "--help", capsys=capsys)
        assert code == 0
        assert "usage" in out
    code, out, _ = run("train", "dpo", "--help", capsys=capsys)
    assert code == 0
    assert "--beta" in out and "64" in out and "--optim.learning-rate" in out


def test_a_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the way to a command of two words: `preflab theory --help` lists those that begin so, and no others."""
    code, out, _ = run("theory", "--help", capsys=capsys)
    assert code == 0
    names = re.findall(r"^  (theory \w+) ", out, flags=re.MULTILINE)
    assert names == ["theory counterexample", "theory check", "theory synthetic"]
    assert "data show" not in out


def test_who_stops_reading_gets_no_traceback() -> None:
    """Protects `preflab ... | head`: the reader has gone, which is no failure to be explained."""
    command = f"{sys.executable} -m preflab train --help | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    assert ended.returncode in (0, 141)


SMALL = "--testbed.train 20 --testbed.validation 4 --testbed.test 4"


@pytest.mark.parametrize("words", ["--version", "studies", f"data show minicode {SMALL} --json"])
def test_output_that_cannot_be_written_is_one_line(words: str) -> None:
    """`preflab ... > FILE` on a full disk gives one line. Without care, Python finds the error only when it ends, and
    then prints two lines and exits with 120."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full, which Linux has")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "preflab", *words.split()]
    with full.open("w") as output:
        ended = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [ended.stderr.strip()]
    assert ended.stderr.startswith("preflab: the disk is full")


@pytest.mark.parametrize("number", DISK_FAULTS)
@pytest.mark.parametrize("name", [None, "runs/dpo/metrics.jsonl"])
def test_what_a_disk_does_is_no_defect(
    number: int, name: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fault of a disk is one line and not a traceback, whether or not the error names a file."""

    def fail(arguments: object) -> int:
        raise OSError(number, os.strerror(number), name)

    monkeypatch.setattr(cli, "run_command", fail)
    code, _, err = run("studies", capsys=capsys)
    assert code == 2 and len(err.splitlines()) == 1
    assert (name or "while writing") in err and "repeat the command" in err


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


@pytest.mark.parametrize(
    "error", [RuntimeError("nobody expected this"), KeyError("x"), RecursionError(), AssertionError()]
)
def test_a_defect_ends_with_70(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects from a defect that looks like a mistake of the user: an error that nobody expected has exit code 70, says that
    it is one, and shows where it happened."""

    def fail(arguments: object) -> int:
        raise error

    monkeypatch.setattr(cli, "run_command", fail)
    code, out, err = run("studies", capsys=capsys)
    assert (code, out) == (70, "")
    assert err.startswith("preflab: this is a defect of preflab.") and "Traceback" in err
    assert type(error).__name__ in err.rstrip().splitlines()[-1]
