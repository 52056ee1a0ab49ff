"""What a reader asks of a report: why this headline, on how many problems, at which temperature, at what price."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from preflab.analysis.record import Collapse, Comparison, Interval, MeasuredValue, Results, StudyVerdict, known_measure
from preflab.report import metrics, numbers, print_summary, verdicts
from preflab.report.frontier import draw_frontier
from preflab.report.markdown import render_markdown
from preflab.report.marks import arm_mark
from preflab.report.page import render_html

from .test_report import Page, light


def words_of(results: Results) -> tuple[str, str, str]:
    """The page, the Markdown and the terminal, as texts on one line."""
    console = Console(file=io.StringIO(), width=400)
    print_summary(results, console)
    forms = (
        " ".join(Page(render_html(results)).texts),
        render_markdown(results).replace("\\", ""),
        console.file.getvalue(),
    )
    page, markdown, terminal = (" ".join(form.split()) for form in forms)
    return page, markdown, terminal


def pair(first: str, second: str, at: float, family: float) -> Comparison:
    return Comparison(
        first=first, second=second, metric="pass@1", estimate=at, low=at - 0.02, high=at + 0.02, p_value=0.0123,
        verdict="better" if at > 0.02 else "not decided", family=family, seeds=3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def answered(results: Results) -> Results:
    """The example with the evidence of its headline, in the order of the arms."""
    evidence = (pair("ppo", "dpo", 0.19, 3.0), pair("ppo", "best-of-4", 0.06, 3.0), pair("dpo", "sft", 0.01, 6.0))
    verdict = results.verdict.model_copy(update={"evidence": evidence})
    return light(results).model_copy(update={"verdict": verdict})


def test_the_evidence_stands_under_the_headline(answered: Results) -> None:
    """Protects the reader's first question: the comparisons that the answer rests on come before the arms, the closest first,
    with what their p-values are adjusted for."""
    page = render_html(answered)
    assert (
        page.index('<section id="evidence">') < page.index('<section id="claims">') < page.index('<section id="arms">')
    )
    for form in words_of(answered):
        assert "+6.0 points" in form and "[+4.0, +8.0]" in form
    for form in words_of(answered)[:2]:
        assert "p, adjusted" in form and "0.012" in form
        assert "adjusted for 3 or 6 comparisons" in form
    assert [each.second for each in verdicts.list_evidence(answered)] == ["best-of-4", "dpo", "sft"]


@pytest.fixture(scope="module")
def decided_twice(answered: Results) -> Results:
    """The example at two decodings: ppo won by greedy decoding, dpo at temperature 1; one claim turns round."""
    first = answered.claims[0].model_copy(update={"outcome": "confirmed"})
    turned = first.model_copy(update={"decoding": "unit", "outcome": "refuted"})
    evidence = (pair("dpo", "ppo", 0.08, 3.0).model_copy(update={"decoding": "unit"}),)
    unit = StudyVerdict(sentence="dpo won: pass@1 57.0%.", winner="dpo", tied=("ppo-rm",), evidence=evidence)
    decodings = {"chosen": "With greedy decoding", "unit": "At temperature 1"}
    return answered.model_copy(update={"decodings": decodings, "unit_verdict": unit, "claims": (first, turned)})


def test_both_decodings_are_answered(decided_twice: Results) -> None:
    """Protects the second answer from being lost: both headlines, their evidence, and a claim with opposite outcomes stand in
    every form, each with its decoding."""
    page, markdown, terminal = words_of(decided_twice)
    headline = decided_twice.verdict.sentence
    assert "With greedy decoding ppo won: pass@1 62.8%," in page and "At temperature 1 dpo won: pass@1 57.0%." in page
    for form in (markdown, terminal):
        assert f"With greedy decoding: {headline}" in form and "At temperature 1: dpo won: pass@1 57.0%." in form
    assert "pass@1, with greedy decoding" in page and "pass@1, at temperature 1" in page
    assert "pass@1, at temperature 1" in markdown and "dpo − ppo, at temperature 1: +8.0 points" in terminal
    for form in (page, markdown, terminal):
        assert "depends on the decoding" in form
    assert "1 claim, written down before the study ran. Each claim is decided for two decoding settings" in page
    assert [verdicts.state_win(decided_twice, name) for name in ("ppo", "dpo", "sft")] == [
        "won with greedy decoding",
        "won at temperature 1",
        "",
    ]
    assert "At temperature 1: ppo-rm" in page  # not significantly different from the best


def test_an_arm_that_won_twice_won(decided_twice: Results, answered: Results) -> None:
    """Protects the badge: no decoding is named where there is one, or where the arm won at both."""
    assert decided_twice.unit_verdict is not None
    unit = decided_twice.unit_verdict.model_copy(update={"winner": "ppo"})
    assert verdicts.state_win(decided_twice.model_copy(update={"unit_verdict": unit}), "ppo") == "won"
    assert verdicts.state_win(answered, "ppo") == "won"


def test_collapses_are_shown_apart(results: Results) -> None:
    """Protects the reader from a mean that mixes failed runs with good ones: an arm with a collapsed run has its rate and the
    score of the others; where none collapsed, what the rate may still be is said."""
    rule = "A run has collapsed if it diverged."
    rate = Interval(estimate=0.0, low=0.0, high=0.7076, seeds=3)
    arms = [
        arm.model_copy(
            update={"collapse": Collapse(rate=rate, means={"chosen": Interval(estimate=0.5)}, compared=True)}
        )
        for arm in light(results).arms
    ]
    calm = results.model_copy(update={"collapse_rule": rule, "arms": tuple(arms)})
    for form in words_of(calm)[:2]:
        assert f"{rule} No run collapsed. With 3 seeds the rate of an arm may still be up to 71%." in form
    fallen = Collapse(
        seeds=(2,),
        compared=True,
        rate=Interval(estimate=1 / 3, low=0.008, high=0.906, seeds=3),
        means={"chosen": Interval(estimate=0.611, low=0.6, high=0.622)},
    )
    arms[4] = arms[4].model_copy(update={"collapse": fallen})
    shown = words_of(calm.model_copy(update={"arms": tuple(arms)}))
    assert "1 of 3 33.3% [0.8, 90.6] 61.1% [60.0, 62.2]" in shown[0]
    assert "ppo: 1 of 3 runs collapsed (33.3% [0.8, 90.6]). The others have 61.1% [60.0, 62.2]" in shown[1]


@pytest.mark.parametrize(
    ("families", "words"),
    [
        ([1.0], "one comparison alone, so it is not adjusted"),
        ([4.0, 4.0], "adjusted for 4 comparisons"),
        (
            [40 / 3, 80 / 3],
            "adjusted for 13.3 or 26.7 comparisons (Bonferroni, counted by the error that this look may spend)",
        ),
        ([3.5], "for 3.5 comp"),
    ],
)
def test_what_p_values_are_adjusted_for(families: list[float], words: str) -> None:
    """Protects p-values from being read as those of single comparisons."""
    assert words in verdicts.explain_adjustment([pair("a", "b", 0.1, family) for family in families])


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "—"), (1.0, "1"), (0.42, "0.42"), (0.0533, "0.053"), (0.0004, "< 0.001"), (0.0, "< 0.001")],
)
def test_p_values_as_people_read_them(value: float | None, words: str) -> None:
    """Protects a p-value at the level from being rounded onto it, and one of 0 from being believed."""
    assert numbers.format_p_value(value) == words


def test_arms_are_sorted_by_score(results: Results) -> None:
    """Protects the order of every table: by the headline, the best first, an arm without a value last; a measure of which less
    is better the other way round. Colours and marks stay those of the study's order."""
    names = [arm.name for arm in metrics.rank_arms(results)]
    assert names[:3] == ["ppo", "best-of-4", "dpo-iter"]
    bare = results.arms[4].model_copy(update={"measures": ()})
    assert [arm.name for arm in metrics.rank_arms(results.model_copy(update={"arms": (bare, *results.arms[:2])}))][
        -1
    ] == "ppo"
    lower = results.metrics[0].model_copy(update={"better": "lower"})
    turned = results.model_copy(update={"metrics": (lower, *results.metrics[1:])})
    assert [arm.name for arm in metrics.rank_arms(turned)] == names[::-1]
    shown = re.findall(r'<th scope="row" class="arm">.*?</svg>([\w-]+)<', render_html(light(results)))
    assert shown == names * 3  # arms, behaviour, costs
    assert re.search(r" time ppo .* best-of-4 .* dpo-iter ", words_of(results)[2])
    assert (
        re.findall(r"^\| ([\w-]+) \| \d", render_markdown(results).split("## The arms")[1], re.MULTILINE)[:7] == names
    )


def test_every_arm_has_a_mark_of_its_own(page: str) -> None:
    """Protects who sees no colours: 16 arms have 16 pairs of colour and mark, and each name on the page has its outline."""
    marks = [(index % 8, arm_mark(index).marker) for index in range(16)]
    assert len(set(marks)) == 16 and len({marker for _, marker in marks[:8]}) == 8
    outlines = set(re.findall(r'<svg class="mark [^>]*><path d="([^"]+)"', page))
    assert outlines == {arm_mark(index).outline for index in range(7)}


def test_problems_temperatures_and_costs_are_said(results: Results) -> None:
    """Protects the figures from standing alone: how many test problems, at which temperatures, what was spent of which budget,
    and what an answer costs when it is measured."""
    arms = tuple(
        arm.model_copy(update={
            "measures": tuple(
                row.model_copy(update={"value": row.value.model_copy(update={"problems": 400})}) for row in arm.measures
            ),
            "runs": tuple(
                run.model_copy(update={"temperature": 0.2 + 0.4 * (run.seed == 2), "curve": (), "frontier": (),
                                       "spent": run.spent.model_copy(update={"flops_an_answer": 7.2e7 * arm.inference_cost})})
                for run in arm.runs
            ),
        }) for arm in results.arms
    )  # fmt: skip
    told = results.model_copy(update={"arms": arms, "levels": ()})
    page, markdown, terminal = words_of(told)
    for form in (page, markdown):
        assert "400 test problems" in form and "at T = 0.2, 0.6" in form
    for form in (page, markdown, terminal):
        assert "up to 16,384 labels or reward calls for each arm" in form
        assert "Spent: 0 labels or reward calls (sft, sft-more, best-of-4) to 16,384 (dpo-iter, ppo)." in form
        assert "Samples drawn for each answer: best-of-4 4; the others 1." in form
        assert "labels, calls" not in form and "carry over" not in form
    assert "288M" in page and "72M" in page


def test_figures_say_their_temperature(page: str) -> None:
    """Protects from comparing a curve at temperature 1 with a bar at .2: every figure of the page says it below its title."""
    figures = re.findall(r'<svg [^>]*class="figure".*?</svg>', page, re.DOTALL)
    assert len(figures) > 8
    for figure in figures:
        assert "temperature" in figure or "nothing is sampled" in figure


def test_points_of_the_frontier_say_what_they_are(results: Results) -> None:
    """Protects the reward-KL plot: each checkpoint has its arm, seed, step and values as a title, which a browser shows without
    any script; what belongs to an arm says so, so that the arm can be switched off."""
    drawn = draw_frontier(results)
    assert drawn is not None
    titles = re.findall(r"<title>(.*?)</title>", drawn)
    points = sum(len(run.frontier) for arm in results.arms for run in arm.runs)
    assert len(titles) == points
    point = re.compile(r"ppo, seed 2; step 26, on validation problems; pass@1 [\d.]+%; KL [\d.]+")
    assert any(map(point.fullmatch, titles))
    assert any(
        each.startswith("best-of-4, seed 1; the end, on test problems") and "KL at most" in each for each in titles
    )
    assert set(re.findall(r'data-arm="(\d)"', drawn)) == {"0", "1", "2", "3", "4", "5", "6"} - absent(results)


def absent(results: Results) -> set[str]:
    """The places of the arms that have no frontier."""
    return {str(place) for place, arm in enumerate(results.arms) if not any(run.frontier for run in arm.runs)}


def test_a_study_without_a_question_leaves_no_trace_of_it(results: Results) -> None:
    """Protects from empty emphasis."""
    silent = light(results).model_copy(update={"question": ""})
    assert "**\n" not in render_markdown(silent) and "\n**" not in render_markdown(silent).split("## ")[0]
    assert 'class="question"' not in render_html(silent)


def test_every_measure_of_every_evaluator_stands_in_the_short_report(results: Results) -> None:
    """Protects further evaluators: all their measures are in report.md, not the first of them alone."""
    further = tuple(known_measure(f"style/{name}") for name in ("tone", "form", "wit"))
    arms = tuple(
        arm.model_copy(update={"measures": (*arm.measures, *(
            arm.measures[0].model_copy(update={"metric": each.name, "value": Interval(estimate=0.1 * place + 0.123)})
            for place, each in enumerate(further)
        ))}) for arm in results.arms
    )  # fmt: skip
    more = light(results).model_copy(update={"arms": arms, "metrics": (*results.metrics, *further)})
    page, markdown, _ = words_of(more)
    for form in (page, markdown):
        assert all(each.name in form for each in further) and all(
            value in form for value in ("0.123", "0.223", "0.323")
        )


def test_where_nothing_was_solved_the_page_stands(results: Results) -> None:
    """Protects studies in which everything failed: all scores 0, or no score at all because every run diverged. The scales stay
    within what a share can be, and the reason of each run is there."""
    zero = Interval(estimate=0.0, low=0.0, high=0.0, seeds=3, problems=10)
    nothing = tuple(
        arm.model_copy(update={"measures": tuple(row.model_copy(update={"value": zero}) for row in arm.measures)})
        for arm in results.arms
    )
    flat = {"metrics": {"validation": 0.0, "kl": 0.0}}
    nothing = tuple(
        arm.model_copy(update={"runs": tuple(
            run.model_copy(update={"curve": tuple(point.model_copy(update=flat) for point in run.curve)}) for run in arm.runs
        )}) for arm in nothing
    )  # fmt: skip
    page = render_html(results.model_copy(update={"arms": nothing}))
    drawn = page[page.index('<section id="sweep">') : page.index('<section id="comparisons">')]
    drawn += page[page.index('<section id="training">') : page.index('<section id="frontier">')]
    assert ">0%<" in drawn and not re.findall(r">−[\d.]+%?<", drawn)
    arms = page[page.index('<section id="arms">') : page.index("<h3>Behaviour</h3>")]
    assert ">0%<" in arms and "−" not in "".join(re.findall(r"<text[^>]*>([^<]*)<", arms))
    gone = tuple(
        arm.model_copy(update={"measures": (), "runs": tuple(
            run.model_copy(update={"metrics": {}, "metrics_unit": {}, "diverged": True, "note": "The loss is nan.",
                                   "frontier": ()}) for run in arm.runs
        )}) for arm in results.arms
    )  # fmt: skip
    verdict = StudyVerdict(sentence="No result: every run of every arm diverged.")
    failed = results.model_copy(update={
        "arms": gone, "verdict": verdict, "comparisons": (), "claims": (), "samples": (), "levels": (), "sweep": None
    })  # fmt: skip
    page, markdown, terminal = words_of(failed)
    assert "The loss is nan." in page and "3 of 3 diverged" in page
    assert all("every run of every arm diverged" in form for form in (page, markdown, terminal))


def test_a_tuned_value_at_the_edge_stands_at_the_trials(results: Results) -> None:
    """Protects the reader of the tuning table."""
    words = "ppo: learning_rate = 0.001 is the largest of 0.0001, 0.001"
    told = light(results).model_copy(update={"tuning": results.tuning.model_copy(update={"at_edge": (words,)})})
    assert words in words_of(told)[0]


def test_several_samples_are_measured_where_they_differ(results: Results) -> None:
    """k@n submits samples that the public tests choose. With greedy decoding all samples are equal, so the table shows
    k@n at temperature 1 as well, and the page says how k@n was measured."""
    value = MeasuredValue(metric="1@4", decoding="unit", value=Interval(estimate=0.75, seeds=1))
    arms = [arm.model_copy(update={"measures": [*arm.measures, value]}) for arm in results.arms]
    headline, *others = results.metrics
    metrics = (headline, known_measure("1@4"), *others)
    page, markdown, _ = words_of(results.model_copy(update={"metrics": metrics, "arms": arms}))
    assert "| 1@4 at T = 1 |" in markdown and "75.0%" in markdown
    assert "1@4: at most 1 of 4 samples submitted, chosen by the public tests" in page
