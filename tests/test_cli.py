"""The command line: help, mistakes in the user's words with exit code 2, and what each command prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from preflab.cli import COMMANDS, main


def run(*words: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stduy", "quickstart"], "Did you mean 'study'"),
        (["study", "quikstart"], "Did you mean 'quickstart'"),
        (["study", "quickstart", "--arms", "pppo"], "Did you mean 'ppo'"),
        (["study", "quickstart", "--arm", "ppo", "--nonsense"], "--nonsense"),
        (["study", "quickstart", "--data", "x"], "brings its own data"),
        (["study", "quickstart", "--size", "paper"], "no size 'paper'"),
        (["study", "missing.yaml"], "no file missing.yaml"),
        (["train", "dop"], "Did you mean 'dpo'"),
        (["train"], "Name a method"),
        (["train", "dpo", "--betaa", "1"], "betaa"),
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
        code, out, _ = run(command, "--help", capsys=capsys)
        assert code == 0
        assert "usage" in out
    code, out, _ = run("train", "dpo", "--help", capsys=capsys)
    assert code == 0
    assert "--beta" in out and "0.1" in out and "--optim.learning-rate" in out


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


def test_torch_stays_out_of_the_plain_commands() -> None:
    """Protects start-up time: listing studies, asking for help and reading a report need no torch."""
    probe = (
        "import sys\nfrom preflab.cli import main\n"
        "try:\n    main(['studies'])\nexcept SystemExit:\n    pass\n"
        "import preflab.study.study, preflab.study.outcome\n"
        "print('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
