"""`preflab theory` on the command line: exit codes, replay, files, and a page in which nothing can act."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from preflab.cli import main
from preflab.errors import UserError
from preflab.report.theory import render_page
from preflab.theory import theorem
from preflab.theory.finding import Finding, FindingFigure, FindingTable, read_finding, write_finding
from preflab.theory.problems import ProblemShape, draw_problems, problem_as_json, read_problem
from preflab.theory.tabular import optimum

HOSTILE = "</script><script>alert(1)</script>\x1b[31m[red]x\u202e<img src=http://x/y>\"'&"


def run(*words: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["theory", *(str(word) for word in words)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_both_commands_and_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the contract: finding on the terminal, JSON and figures in the directory, and a page of all that lies there,
    with claim, command, verdict and figures, and neither script nor anything from elsewhere."""
    code, out, _ = run("counterexample", "--output", tmp_path, capsys=capsys)
    assert code == 0
    assert "Holds. All 12 certificates hold" in out and re.search(r"a DPO optimum .* inf", out)
    code, out, _ = run("check", "--trials", 60, "--output", tmp_path, capsys=capsys)
    assert code == 0
    assert "60 random problems" in " ".join(out.split())
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        *(
            "counterexample.json",
            "counterexample.svg",
            "check.json",
            "check-bound.svg",
            "check-reach.svg",
            "theory.html",
        )
    }
    page = (tmp_path / "theory.html").read_text()
    for name in ("counterexample", "check"):
        finding = read_finding(tmp_path / f"{name}.json")
        assert finding.verdict == "holds"
        assert finding.title in page and f"<code>{finding.command}</code>" in page and f'id="{name}"' in page
    tags = Tags(page).found
    assert [tag for tag, _ in tags].count("img") == 3
    assert not {"script", "iframe", "object", "form"} & {tag for tag, _ in tags}
    assert not any(key.startswith("on") or key == "style" for _, given in tags for key in given)
    sources = [given.get(key) or "" for _, given in tags for key in ("src", "href") if key in given]
    assert all(source.startswith(("data:", "#")) for source in sources)
    policy = next(given["content"] or "" for _, given in tags if "http-equiv" in given)
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy


def test_the_same_command_writes_the_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects reproduction: page, figures and JSON are functions of the options."""
    for name in ("one", "two"):
        assert run("check", "--trials", 20, "--seed", 3, "--output", tmp_path / name, capsys=capsys)[0] == 0
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_failing_trial_is_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the way from a failure to its cause: exit code 1, the trial as the last line, and --replay of that line fails
    in the same way; with the theorem mended it passes."""

    def off(rewards: Any, reference: Any, beta: Any) -> Any:
        return optimum(rewards, reference, 1.01 * beta)

    monkeypatch.setattr(theorem, "optimum", off)
    code, out, _ = run("check", "--trials", 30, capsys=capsys)
    assert code == 1
    assert "Refuted. 30 of 30 trials failed" in " ".join(out.split())
    file = tmp_path / "failed.json"
    file.write_text(out.splitlines()[-1])
    code, again, _ = run("check", "--replay", file, capsys=capsys)
    assert code == 1
    assert json.loads(again.splitlines()[-1]) == json.loads(file.read_text())
    monkeypatch.undo()
    code, out, _ = run("check", "--replay", file, capsys=capsys)
    assert code == 0
    assert "On one problem every PPO optimum" in " ".join(out.split())


def test_an_unsolved_trial_decides_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the verdict's third value: a solver that stopped early is no counter-example, and no confirmation."""
    right = theorem.minimise
    monkeypatch.setattr(theorem, "minimise", lambda wins, graph: right(wins, graph, steps=1))
    code, out, _ = run("check", "--trials", 30, capsys=capsys)
    assert code == 1
    assert "Not decided." in out and "not solved" in " ".join(out.split())


def test_replay_round_trip(tmp_path: Path) -> None:
    """Protects --replay to the last bit: every number of a problem comes back from its JSON."""
    (problems,) = draw_problems(5, 1, ProblemShape())
    file = tmp_path / "problem.json"
    file.write_text(json.dumps(problem_as_json(problems, 4)))
    for name, values in read_problem(file)._asdict().items():
        assert values[0].tolist() == getattr(problems, name)[4].tolist(), name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reference": [[0.5, 0.2, 0.1]]}, "does not sum to 1"),
        ({"reference": [[0.5, 0.5]]}, "`wins` a square"),
        ({"reference": [[0.0, 0.5, 0.5]]}, "reference 0, where the DPO loss is undefined"),
        ({"wins": [[[0, 0, 0]] * 3]}, "needs a pair"),
        ({"wins": [[[1, 1, 0], [0, 0, 0], [0, 0, 0]]]}, "none of a response with itself"),
        ({"wins": [[[0, 1], [0, 0, 0], [0, 0, 0]]]}, "problem.json: "),
        ({"beta": 0}, "`beta`"),
        ({"share": 1}, "`share`"),
        ({"free": [[0, 0, "x"]]}, "`free.0.2`"),
        ({"betta": 1}, "Did you mean 'beta'"),
    ],
)
def test_a_file_that_is_no_problem(
    changes: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the user's time: each fault of a replay file is one message with the file's name, exit code 2."""
    right = {"reference": [[0.5, 0.5, 0]], "wins": [[[0, 1, 0], [0, 0, 0], [0, 0, 0]]], "beta": 1, "share": 0.5}
    file = tmp_path / "problem.json"
    file.write_text(json.dumps({**right, "free": [[0, 0, 0]], **changes}))
    code, _, err = run("check", "--replay", file, capsys=capsys)
    assert (code, "problem.json" in err) == (2, True)
    assert said in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chek"], "did you mean 'theory check'"),
        ([], "name"),
        (["check", "--trials", "0"], "--trials 0"),
        (["check", "--seed", "-1"], "--seed -1"),
        (["check", "--seed", str(2**70)], "--seed"),
        (["check", "--prompts", "9"], "--prompts 9"),
        (["check", "--responses", "1"], "--responses 1"),
        (["check", "--coverage", "1.1"], "--coverage 1.1"),
        (["check", "--coverage", "nan"], "--coverage nan"),
        (["check", "--beta", "0"], "--beta 0"),
        (["check", "--beta", "nan"], "--beta nan"),
        (["check", "--replay", "missing.json"], "no file missing.json"),
        (["counterexample", "--beta", "-1"], "--beta -1"),
        (["counterexample", "--figure", "x.png"], ".svg"),
    ],
)
def test_the_users_mistakes(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects from tracebacks: one message that names the option, exit code 2."""
    code, _, err = run(*words, capsys=capsys)
    assert code == 2
    assert said in err.lower() and "Traceback" not in err


def test_figure_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects --figure: the drawing as a file of its own, with what the caption names in it."""
    file = tmp_path / "made" / "loss.svg"
    assert run("counterexample", "--figure", file, capsys=capsys)[0] == 0
    drawn = file.read_text()
    assert drawn.startswith("<?xml") and "pi_ref" in drawn and "PPO's limit" in drawn and "DPO minimisers" in drawn


def test_nothing_in_a_finding_acts(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects page and terminal from text in a JSON file: markup is escaped, control characters are seen."""
    from rich.console import Console

    from preflab.report.theory import print_finding

    texts = dict.fromkeys(("title", "claim", "command", "sentence"), HOSTILE)
    table = FindingTable(
        title=HOSTILE, columns=(HOSTILE, "x"), rows=((HOSTILE, float("inf")), ("b", 1.5)), note=HOSTILE
    )
    figure = FindingFigure(file="x.svg", title=HOSTILE, caption=HOSTILE, alt=HOSTILE, svg="<svg/>")
    finding = Finding(name="x", verdict="holds", tables=(table,), figures=(figure,), notes=(HOSTILE,), **texts)
    page = render_page([finding])
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page
    assert not any(tag == "img" and not (given["src"] or "").startswith("data:") for tag, given in Tags(page).found)
    print_finding(finding, Console())
    out = capsys.readouterr().out
    assert "\x1b[31m" not in out and "\u202e" not in out and "[red]" in out and "inf" in out


def test_a_finding_comes_back(tmp_path: Path) -> None:
    """Protects the page's only source: a finding and its figures are read as they were written; infinity stays a word."""
    table = FindingTable(title="t", columns=("a", "b"), rows=(("x", float("inf")), ("y", 0.1)))
    figure = FindingFigure(file="made.svg", title="t", caption="c", alt="a", svg="<svg/>\n")
    finding = Finding(
        **dict.fromkeys(("title", "claim", "command", "sentence"), "w"),
        name="made", verdict="not decided", tables=(table,), figures=(figure,), failure={"beta": 0.1},
    )  # fmt: skip
    path = write_finding(finding, tmp_path)
    assert read_finding(path) == finding
    assert finding.tables[0].rows[0] == ("x", "inf")
    (tmp_path / "made.svg").unlink()
    with pytest.raises(UserError, match=r"needs the figure made\.svg"):
        read_finding(path)


def test_help_loads_no_torch() -> None:
    """Protects start-up: the options of every theory command are known before torch is loaded."""
    probe = (
        "import sys\nfrom preflab.cli import main\n"
        "for name in ('counterexample', 'check'):\n"
        "    try:\n        main(['theory', name, '--help'])\n    except SystemExit:\n        pass\n"
        "print([name for name in ('torch', 'matplotlib', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--replay" in done.stdout and "--figure" in done.stdout and done.stdout.count("--output") >= 2
