"""The written report: deterministic, self-contained, and safe from texts that try to act as markup."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from preflab.analysis.record import Interval, Results
from preflab.errors import UserError
from preflab.report import print_summary, verdicts, write_report
from preflab.report.figures import sweep
from preflab.report.markdown import render_markdown
from preflab.report.page import render_html
from preflab.report.table import render_csv

HOSTILE = "</script><script>alert(1)</script>\x1b[31m[red]x[/red]\u202e=cmd() $x^2$ `a` | \"'&\n<!--"
FORMULAS = ("=cmd()", "+1", "-1", "@SUM(A1)", " \t=1+1", "＝1")
FILES = {"report.html", "report.md", "results.json", "results.csv"}


def poison(value: object) -> object:
    """The JSON of results with every free text replaced by a hostile one; names of arms stay distinct."""
    if isinstance(value, dict):
        poisoned = {key: poison(item) for key, item in value.items()}
        if "contrast" in poisoned:  # its keys are names of arms
            poisoned["contrast"] = {f"{arm}{HOSTILE}": weight for arm, weight in value["contrast"].items()}
        return poisoned
    if isinstance(value, list):
        return [poison(item) for item in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) else value


ENUMS = ("better", "binding", "decoding", "outcome", "rule", "holds_under_other_budget")


def hostile(results: Results) -> Results:
    """Every text of the example made hostile, except the fields that are choices from a list."""

    def restored(original: object, poisoned: object) -> object:
        if isinstance(original, dict) and isinstance(poisoned, dict):
            free = "text" in original and "rule" not in original  # an answer's outcome is any text, a claim's is not
            kept = set[str]() if free else {key for key in ENUMS if key in original}
            kept |= {"verdict"} if "p_value" in original else set()
            pairs = {key: (item, item if key in kept else poisoned[key]) for key, item in original.items()}
            return {
                key: after if key == "contrast" else restored(before, after) for key, (before, after) in pairs.items()
            }
        if isinstance(original, list) and isinstance(poisoned, list):
            return [restored(before, after) for before, after in zip(original, poisoned, strict=True)]
        return poisoned

    data = results.model_dump(mode="json")
    return Results.model_validate(restored(data, poison(data)))


def light(results: Results) -> Results:
    """The example without what needs figures, which take most of the time."""
    bare: dict[str, object] = {"curve": (), "frontier": ()}
    arms = tuple(
        arm.model_copy(update={"runs": tuple(run.model_copy(update=bare) for run in arm.runs)}) for arm in results.arms
    )
    return results.model_copy(update={"arms": arms, "levels": ()})


class Page(HTMLParser):
    """Tags, attributes and text of a page as a browser takes them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.comments: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def test_files_and_determinism(results: Results, tmp_path: Path) -> None:
    """Four files and nothing left beside them; the same results give the same bytes, over older files too."""
    first, second = tmp_path / "a" / "deep", tmp_path / "b"
    second.mkdir()
    (second / "report.html").write_text("an older report")
    assert write_report(results, first) == first / "report.html"
    write_report(results, second)
    assert {path.name for path in second.iterdir()} == FILES
    for name in FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_place_that_cannot_be_written(results: Results, tmp_path: Path) -> None:
    """A file where the directory should be is the user's mistake, and one line says so."""
    (tmp_path / "report").write_text("mine")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(results, tmp_path / "report")


def test_page_is_self_contained(page: str) -> None:
    """No event handler, no style attribute, no address but anchors and data; the policy covers the style and the one script."""
    parsed = Page(page)
    assert not [tag for tag, _ in parsed.tags if tag in {"iframe", "object", "img", "form"}]
    for tag, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    policies = [a["content"] or "" for tag, a in parsed.tags if tag == "meta" and "http-equiv" in a]
    assert len(policies) == 1 and policies[0].startswith("default-src 'none'") and f"'sha256-{digest}'" in policies[0]
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policies[0]
    assert "url(" not in style.group(1) and "@import" not in style.group(1)


def test_every_id_is_unique_and_every_reference_resolves(page: str) -> None:
    """Figures share a page: their clip paths and markers must not be each other's."""
    tags = Page(page).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    hrefs = [value[1:] for _, attributes in tags if (value := attributes.get("href") or "").startswith("#")]
    clips = re.findall(r'clip-path="url\(#([^)]+)\)"', page)
    assert set(hrefs) | set(clips) <= set(ids)


def test_page_says_what_was_found(results: Results, page: str) -> None:
    """The verdict first, then every arm, the other budget, the divergence, the run directories, the command."""
    words = " ".join(" ".join(Page(page).texts).split())
    sections = [
        "claims",
        "paper",
        "arms",
        "sweep",
        "comparisons",
        "training",
        "frontier",
        "levels",
        "reward-models",
        "samples",
        "tuning",
        "settings",
        "caveats",
        "runs",
    ]
    assert re.findall(r'<section id="([\w-]+)">', page) == sections
    assert words.index("points above", words.index("preflab study")) < words.index("The arms")
    for part in ("Preliminary: 3 seeds", "Does not hold", "1 of 3 diverged", "arms/ppo/seed-2", results.command):
        assert part in words
    for svg in ("pass@1 on validation against training steps", "against labels", "against FLOP", "KL to SFT against"):
        assert svg in page


def test_hostile_text_is_only_text(results: Results, page: str) -> None:
    """`</script>`, escape sequences, bidirectional marks, rich markup and mathematics do nothing in the page."""
    poisoned = render_html(hostile(results))
    parsed = Page(poisoned)
    assert not parsed.comments
    assert {tag for tag, _ in parsed.tags} == {tag for tag, _ in Page(page).tags}
    assert "\x1b" not in poisoned and "\u202e" not in poisoned
    words = "".join(parsed.texts)
    assert "</script><script>alert(1)</script>⟨U+001B⟩[31m[red]x[/red]⟨U+202E⟩=cmd() $x^2$" in words


def test_hostile_text_in_markdown(results: Results) -> None:
    """No tag, table cell or code fence is opened or closed by a text."""
    written = render_markdown(hostile(results))
    fences = re.sub(r"^(`{3,})text\n.*?\n\1$", "", written, flags=re.MULTILINE | re.DOTALL)
    assert "```" not in fences
    assert not re.findall(r"(?<!\\)<", fences)
    rows = [line for line in fences.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {11, 8, 7, 6, 4}
    assert "\x1b" not in written and "\u202e" not in written


@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas_in_csv(results: Results, formula: str) -> None:
    """A spreadsheet shows a text that looks like a formula; negative numbers stay numbers."""
    arm = results.arms[0].model_copy(update={"name": formula})
    named = results.model_copy(update={"study": formula, "arms": (arm,), "claims": ()})
    rows = list(csv.DictReader(io.StringIO(render_csv(named))))
    assert {row["study"][0] for row in rows} == {"'"} and {row["arm"][0] for row in rows} == {"'"}
    assert [row for row in rows if row["low"].startswith("-") and float(row["low"]) < 0]


def test_csv_holds_every_number(results: Results) -> None:
    """One row for each arm, seed and quantity, and one for each estimate with its interval."""
    rows = list(csv.DictReader(io.StringIO(render_csv(results))))
    ppo = next(arm for arm in results.arms if arm.name == "ppo")
    mine = [row for row in rows if row["arm"] == "ppo"]
    one = next(r for r in mine if (r["seed"], r["quantity"], r["decoding"]) == ("2", "pass@1", "chosen"))
    assert float(one["value"]) == ppo.runs[1].metrics["pass@1"] and one["directory"] == ppo.runs[1].directory
    summary = [row for row in mine if row["seed"] == "all"]
    assert len(summary) == len(ppo.measures)
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in summary)


def test_summary_in_the_terminal(results: Results) -> None:
    """Markup and escape sequences in names are shown, not obeyed."""
    console = Console(file=io.StringIO(), width=400, force_terminal=True, color_system="standard")
    poisoned = hostile(results)
    print_summary(poisoned, console)
    printed = console.file.getvalue()
    assert "[red]x[/red]" in printed and "⟨U+001B⟩[31m" in printed
    assert "\x1b[31m" not in printed and "\u202e" not in printed


def test_no_samples(results: Results, tmp_path: Path) -> None:
    """Without samples no text of a prompt or an answer is in any file; all numbers are."""
    marked = light(results).model_dump(mode="json")
    for sample in marked["samples"]:
        sample["prompt"] = "SECRET prompt"
        sample["problem"] = "SECRET id"
        for answer in sample["answers"]:
            answer.update(text="SECRET answer", detail="SECRET detail")
    write_report(Results.model_validate(marked), tmp_path / "with")
    write_report(Results.model_validate(marked), tmp_path / "without", samples=False)
    assert "SECRET" in (tmp_path / "with" / "report.html").read_text(encoding="utf-8")
    for name in FILES:
        assert "SECRET" not in (tmp_path / "without" / name).read_text(encoding="utf-8")
    assert json.loads((tmp_path / "without" / "results.json").read_text())["arms"] == marked["arms"]


def test_what_is_unknown_is_a_dash(results: Results, tmp_path: Path) -> None:
    """An arm trained elsewhere, with nothing measured but the headline, one seed, no curves: still a report."""
    arm = results.arms[4]
    run = {"seed": 1, "directory": "arms/theirs", "metrics": {"pass@1": 0.6}}
    theirs = type(arm).model_validate(
        {
            "name": "theirs",
            "method": "policy",
            "origin": "/models/theirs",
            "measures": [{"metric": "pass@1", "value": {"estimate": 0.6}}],
            "runs": [run],
        }
    )
    bare = Results.model_validate(
        {
            **results.model_dump(
                mode="json", include={"question", "model", "testbed", "budget", "metrics", "headline"}
            ),
            "study": "bare",
            "seeds": [1],
            "arms": [theirs.model_dump(mode="json")],
            "verdict": {"sentence": "Nothing is decided."},
        }
    )
    html = write_report(bare, tmp_path).read_text(encoding="utf-8")
    assert "trained elsewhere: /models/theirs" in html and "not known: trained elsewhere" in html
    assert 'id="training"' not in html and 'id="samples"' not in html and 'id="comparisons"' not in html


def test_an_evaluator_that_cannot_rank_is_said_first(results: Results) -> None:
    """Before any number, in page, Markdown and terminal."""
    accuracy = Interval(estimate=0.52, low=0.47, high=0.57)
    evaluator = results.evaluators[0].model_copy(update={"accuracy": accuracy, "can_rank": False})
    weak = light(results).model_copy(update={"evaluators": (evaluator,)})
    html = render_html(weak)
    assert html.index("cannot rank") < html.index('id="arms"') and "52.0% [47.0, 57.0]" in html
    assert "cannot rank" in render_markdown(weak)
    console = Console(file=io.StringIO(), width=100)
    print_summary(weak, console)
    assert "cannot rank" in console.file.getvalue()


def test_an_interval_without_width_is_remarked(results: Results) -> None:
    """Protects from reading [5.0, 5.0] as certainty: page, Markdown, JSON and terminal say that no spread was seen."""
    reason = "no spread between seeds or problems was seen: the interval has no width"
    flat = {"estimate": 0.05, "low": 0.05, "high": 0.05, "reason": reason}
    pair = results.comparisons[0].model_copy(update=flat)
    claim = results.claims[0].model_copy(update={"value": Interval.model_validate(flat)})
    first, *others = light(results).arms
    one = first.measures[0].model_copy(update={"value": Interval.model_validate(flat)})
    arms = (first.model_copy(update={"measures": (one, *first.measures[1:])}), *others)
    verdict = results.verdict.model_copy(update={"evidence": (pair,)})
    changed = {"arms": arms, "comparisons": (pair,), "claims": (claim,), "verdict": verdict}
    marked = light(results).model_copy(update=changed)
    page, words = render_html(marked), render_markdown(marked)
    assert page.count(reason) == words.count(reason) == 3  # evidence, claim and comparison
    assert "[5.0, 5.0], no spread</span>" in page and "5.0\\] (no spread)" in words
    console = Console(file=io.StringIO(), width=400)
    print_summary(marked, console)
    assert console.file.getvalue().count(reason) == 2
    assert "no spread" not in render_html(light(results)) + render_markdown(light(results))


def test_no_pair_is_shown_twice(results: Results) -> None:
    """Protects readers from the same table under two headings: where the study named no comparisons, the second table has the
    pairs that are not among the evidence, and is left out without one. Named comparisons are all shown."""
    named = results.comparisons
    every = tuple(pair.model_copy(update={"named": False}) for pair in named)
    swapped = every[0].model_copy(update={"first": every[0].second, "second": every[0].first})
    for evidence, pairs, shown in ((every, every, []), ((swapped,), every, [*every[1:]]), (named, named, [*named])):
        verdict = results.verdict.model_copy(update={"evidence": evidence})
        report = light(results).model_copy(update={"comparisons": pairs, "verdict": verdict})
        assert verdicts.list_further_comparisons(report) == shown
        for words in (render_html(report), render_markdown(report)):
            _, _, section = words.partition("Arm against arm</h2>" if "<html" in words else "## Arm against arm")
            assert bool(section) == bool(shown)


def test_more_arms_than_colours(make_results: Callable[[int], Results]) -> None:
    """A tenth arm gets a colour again, a dashed line, and its name in every figure."""
    base = make_results(5)
    twin = [arm.model_copy(update={"name": f"{arm.name} II"}) for arm in base.arms]
    html = render_html(base.model_copy(update={"arms": (*base.arms, *twin)}))
    assert "best-of-4 II" in html and "stroke-dasharray" in html
    assert "5 seeds, paired" in html


def test_claims_in_every_form(results: Results, page: str) -> None:
    """Protects the answer to each claim: its outcome, contrast, interval and margin stand in the page, in Markdown, in the
    terminal and in the table; a claim that was not measured is shown, not dropped; the family is named."""
    console = Console(file=io.StringIO(), width=400)
    print_summary(results, console)
    forms = [" ".join(" ".join(Page(page).texts).split()), render_markdown(results), console.file.getvalue()]
    for words in (words.replace("\\", "") for words in forms):
        for part in ("confirmed", "refuted", "not decided", "not measured", "no finished run of ppo-xl"):
            assert part in words
        for part in (
            "dpo-iter + 2 sft − dpo − 2 ppo",
            "[+4.0, +8.0]",
            "above 0 (margin 3 points)",
            "below the margin, 3",
        ):
            assert part in words
    assert all("a gain of the margin or more is excluded" in words for words in forms[:2])
    rows = [row for row in csv.DictReader(io.StringIO(render_csv(results))) if row["method"] == "claim"]
    assert [row["outcome"] for row in rows] == ["confirmed", "refuted", "not decided", "not measured"]
    assert (rows[0]["arm"], rows[0]["quantity"], rows[0]["value"]) == ("ppo − ppo-rm", "C6, tests", "0.06")


def test_the_papers_figures_are_called_so(page: str, results: Results) -> None:
    """Protects from confusion: the paper's table says that it is of other models, and an absent cell is a dash."""
    for words in (" ".join(" ".join(Page(page).texts).split()), render_markdown(results)):
        assert "as printed in the paper, for other models and other data" in words
        assert ".706" in words and "38.6/10.1/3.9" in words


def test_margin_is_drawn(page: str) -> None:
    """Protects the forest of claims: every row has a dashed line, at its margin, and none stands elsewhere."""
    assert page.count('stroke-dasharray="3 3"') == 4
    claims = page[page.index('<section id="claims">') : page.index('<section id="paper">')]
    assert claims.count('stroke-dasharray="3 3"') == 4


def test_reward_models_are_shown(page: str, results: Results) -> None:
    """Protects what a reward model is worth: accuracy with its interval, log-loss, calibration, diagram, margins."""
    words = " ".join(" ".join(Page(page).texts).split())
    for part in ("71.0% [64.3, 76.9]", "0.573", "0.048", "accuracy by margin", "91.0%"):
        assert part in words
    assert "orders correctly, against the probability that it predicts" in page
    assert "71.0% [64.3, 76.9]" in render_markdown(results).replace("\\", "")


def test_sweep_is_drawn_within_its_axes(results: Results) -> None:
    """Protects the sweep: its scale holds the arms' values (47% to 63%) on a linear and on a logarithmic axis, absent arms
    leave a gap, and without a sweep there is no figure."""
    assert results.sweep is not None
    for log in (True, False):
        drawn = sweep(results.model_copy(update={"sweep": results.sweep.model_copy(update={"log": log})}))
        assert drawn is not None
        ticks = re.findall(r">(\d+(?:\.\d+)?)%<", drawn)
        assert ticks and all(35 <= float(value) <= 70 for value in ticks)
        assert ">PPO<" in drawn and ">DPO<" in drawn and ">0.2<" in drawn
    assert sweep(results.model_copy(update={"sweep": None})) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("unfinished", "Unfinished: 3 of 21 runs are missing. To go on: again"),
        ("unrewarded", ("PPO never saw a reward: 3 of 21 runs are missing one.",)),
    ],
)
def test_what_spoils_a_study_is_said_first(field: str, value: object, results: Results) -> None:
    """Protects from reading half a study, or one without rewards, as a whole one: the warning stands before the arms in every
    form."""
    warned = light(results).model_copy(update={field: value})
    page = render_html(warned)
    assert page.index("3 of 21 runs are missing") < page.index('<section id="claims">')
    assert render_markdown(warned).index("3 of 21") < render_markdown(warned).index("## Claims")
    console = Console(file=io.StringIO(), width=400)
    print_summary(warned, console)
    assert "3 of 21 runs are missing" in console.file.getvalue()
