"""`preflab theory` on the command line: exit codes, replay, files, and a page in which nothing can act."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rich.console import Console

from preflab.cli import main
from preflab.errors import UserError
from preflab.report.theory import print_finding, render_page
from preflab.theory import theorem
from preflab.theory.finding import Finding, FindingFigure, FindingTable, read_finding, write_finding
from preflab.theory.problems import ProblemShape, draw_problems, problem_as_json, read_tabular_problem
from preflab.theory.tabular import optimum

HOSTILE = "</script><script>alert(1)</script>\x1b[31m[red]x\u202e<img src=http://x/y>\"'&"


class Outcome(NamedTuple):
    """The exit code of a command, and its output and messages with every run of white space as one space."""

    code: int
    output: str
    messages: str
    last_line: str


def run(*words: str | Path) -> Outcome:
    """Runs `preflab theory` in this process."""
    output, messages = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(messages), pytest.raises(SystemExit) as ended:
        main(["theory", *(str(word) for word in words)])
    lines = output.getvalue().splitlines()
    texts = (" ".join(text.getvalue().split()) for text in (output, messages))
    return Outcome(int(ended.value.code or 0), *texts, last_line=lines[-1] if lines else "")


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


class Written(NamedTuple):
    """What two commands printed and wrote, one after the other, with the same --output."""

    counterexample: Outcome
    check: Outcome
    directory: Path

    @property
    def page(self) -> str:
        return (self.directory / "theory.html").read_text()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    directory = tmp_path_factory.mktemp("theory")
    counterexample = run("counterexample", "--output", directory)
    return Written(counterexample, run("check", "--trials", 60, "--output", directory), directory)


def test_a_claim_that_holds_ends_with_code_0(written: Written) -> None:
    """Protects the exit code: 0 where every certificate holds."""
    assert (written.counterexample.code, written.check.code) == (0, 0)


def test_the_verdict_stands_on_the_terminal(written: Written) -> None:
    """Protects the reader without a page: the sentence of each finding is printed."""
    assert "Holds. All 12 certificates hold" in written.counterexample.output
    assert "60 random problems" in written.check.output


def test_the_tables_stand_on_the_terminal(written: Written) -> None:
    """Protects the numbers: the row of the paper's optimum is printed with its KL, infinity."""
    assert re.search(r"a DPO optimum .* inf", written.counterexample.output)


def test_each_command_writes_its_finding_and_figures(written: Written) -> None:
    """Protects the files: one JSON and its figures for each command, and one page; nothing else is written."""
    assert {path.name for path in written.directory.iterdir()} == {
        *("counterexample.json", "counterexample.svg"),
        *("check.json", "check-bound.svg", "check-reach.svg"),
        "theory.html",
    }


@pytest.mark.parametrize("name", ["counterexample", "check"])
def test_the_json_holds_the_verdict(name: str, written: Written) -> None:
    """Protects whoever reads the JSON: the verdict is in it."""
    assert read_finding(written.directory / f"{name}.json").verdict == "holds"


@pytest.mark.parametrize("name", ["counterexample", "check"])
def test_one_page_shows_every_finding_of_the_directory(name: str, written: Written) -> None:
    """Protects the page, which the second command renews: title, command and a place to link to for each finding."""
    finding = read_finding(written.directory / f"{name}.json")
    assert finding.title in written.page
    assert f"<code>{finding.command}</code>" in written.page
    assert f'id="{name}"' in written.page


def test_the_page_shows_every_figure(written: Written) -> None:
    """Protects the figures: one of the counter-example and two of the check."""
    assert [tag for tag, _ in Tags(written.page).tags].count("img") == 3


def test_the_page_holds_no_tag_that_acts(written: Written) -> None:
    """Protects the reader's browser: no script, frame, plug-in or form."""
    assert not {"script", "iframe", "object", "form"} & {tag for tag, _ in Tags(written.page).tags}


def test_the_page_holds_no_attribute_that_acts(written: Written) -> None:
    """Protects the content policy: neither event handlers nor inline styles."""
    names = [name for _, attributes in Tags(written.page).tags for name in attributes]
    assert not any(name.startswith("on") or name == "style" for name in names)


def test_the_page_loads_nothing_from_elsewhere(written: Written) -> None:
    """Protects reading offline: every source and link lies in the page itself."""
    attributes = [attributes for _, attributes in Tags(written.page).tags]
    sources = [each[name] or "" for each in attributes for name in ("src", "href") if name in each]
    assert all(source.startswith(("data:", "#")) for source in sources)


def test_the_content_policy_allows_one_style_sheet(written: Written) -> None:
    """Protects the page once more: the browser itself refuses all but the page's own style sheet."""
    policy = next(
        attributes["content"] or "" for _, attributes in Tags(written.page).tags if "http-equiv" in attributes
    )
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy


def test_the_same_command_writes_the_same_bytes(tmp_path: Path) -> None:
    """Protects reproduction: page, figures and JSON are functions of the options."""
    for name in ("one", "two"):
        assert run("check", "--trials", 20, "--seed", 3, "--output", tmp_path / name).code == 0
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_failing_trial_is_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the way from a failure to its cause: exit code 1, the trial as the last line, and --replay of that line fails
    in the same way; with the theorem mended it passes."""

    def off(rewards: Any, reference: Any, beta: Any) -> Any:
        return optimum(rewards, reference, 1.01 * beta)

    monkeypatch.setattr(theorem, "optimum", off)
    failed = run("check", "--trials", 30)
    assert failed.code == 1
    assert "Refuted. 30 of 30 trials failed" in failed.output
    file = tmp_path / "failed.json"
    file.write_text(failed.last_line)
    replayed = run("check", "--replay", file)
    assert replayed.code == 1
    assert json.loads(replayed.last_line) == json.loads(file.read_text())
    monkeypatch.undo()
    mended = run("check", "--replay", file)
    assert mended.code == 0
    assert "On one problem every PPO optimum" in mended.output


def test_an_unsolved_trial_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the verdict's third value: where the solver stopped early the claim is neither refuted nor confirmed."""
    right = theorem.minimise
    monkeypatch.setattr(theorem, "minimise", lambda wins, graph: right(wins, graph, steps=1))
    unsolved = run("check", "--trials", 30)
    assert unsolved.code == 1
    assert "Not decided." in unsolved.output and "not solved" in unsolved.output


def test_replay_round_trip(tmp_path: Path) -> None:
    """Protects --replay to the last bit: every number of a problem comes back from its JSON."""
    (problems,) = draw_problems(5, 1, ProblemShape())
    file = tmp_path / "problem.json"
    file.write_text(json.dumps(problem_as_json(problems, 4)))
    for name, values in read_tabular_problem(file)._asdict().items():
        assert values[0].tolist() == getattr(problems, name)[4].tolist(), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": [[0.5, 0.2, 0.1]]}, "does not sum to 1"),
        ({"reference": [[0.5, 0.5]]}, "`wins` one square matrix"),
        ({"reference": [[0.0, 0.5, 0.5]]}, "`reference` 0, so the DPO loss is undefined"),
        ({"wins": [[[0, 0, 0]] * 3]}, "needs at least one pair of different responses"),
        ({"wins": [[[1, 1, 0], [0, 0, 0], [0, 0, 0]]]}, "must not compare a response with itself"),
        ({"wins": [[[0, 1], [0, 0, 0], [0, 0, 0]]]}, "problem.json: "),
        ({"beta": 0}, "`beta`"),
        ({"share": 1}, "`share`"),
        ({"free": [[0, 0, "x"]]}, "`free.0.2`"),
        ({"betta": 1}, "Did you mean 'beta'"),
    ],
)
def test_a_file_that_does_not_hold_a_problem(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Protects the user's time: each fault of a replay file is one message with the file's name, exit code 2."""
    right = {"reference": [[0.5, 0.5, 0]], "wins": [[[0, 1, 0], [0, 0, 0], [0, 0, 0]]], "beta": 1, "share": 0.5}
    file = tmp_path / "problem.json"
    file.write_text(json.dumps({**right, "free": [[0, 0, 0]], **changes}))
    refused = run("check", "--replay", file)
    assert (refused.code, "problem.json" in refused.messages) == (2, True)
    assert message in refused.messages and "Traceback" not in refused.messages


@pytest.mark.parametrize(
    ("words", "message"),
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
def test_the_users_mistakes(words: list[str], message: str) -> None:
    """Protects from tracebacks: one message that names the option, exit code 2."""
    refused = run(*words)
    assert refused.code == 2
    assert message in refused.messages.lower() and "Traceback" not in refused.messages


def test_figure_alone(tmp_path: Path) -> None:
    """Protects --figure: the drawing as a file of its own, with the labels that the caption names."""
    file = tmp_path / "made" / "loss.svg"
    assert run("counterexample", "--figure", file).code == 0
    drawn = file.read_text()
    assert drawn.startswith("<?xml") and "pi_ref" in drawn and "PPO's limit" in drawn and "DPO minimisers" in drawn


@pytest.fixture
def hostile() -> Finding:
    """A finding whose every text tries to act."""
    texts = dict.fromkeys(("title", "claim", "command", "sentence"), HOSTILE)
    table = FindingTable(
        title=HOSTILE, columns=(HOSTILE, "x"), rows=((HOSTILE, float("inf")), ("b", 1.5)), note=HOSTILE
    )
    figure = FindingFigure(file="x.svg", title=HOSTILE, caption=HOSTILE, alt=HOSTILE, svg="<svg/>")
    return Finding(name="x", verdict="holds", tables=(table,), figures=(figure,), notes=(HOSTILE,), **texts)


def test_nothing_in_a_finding_acts_on_the_page(hostile: Finding) -> None:
    """Protects the page from text in a JSON file: markup is escaped, control characters are made visible."""
    page = render_page([hostile])
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page
    images = [attributes["src"] or "" for tag, attributes in Tags(page).tags if tag == "img"]
    assert all(source.startswith("data:") for source in images)


def test_nothing_in_a_finding_acts_on_the_terminal(hostile: Finding, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the terminal likewise: no escape sequence, and square brackets are text."""
    print_finding(hostile, Console())
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
    with pytest.raises(UserError, match=r"The figure made\.svg of the finding"):
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
