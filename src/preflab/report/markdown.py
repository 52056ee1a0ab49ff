"""`report.md`: the verdict, the table, the comparisons and the caveats, short enough for an issue or a chat."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from preflab import text
from preflab.analysis.record import ArmResult, DecidedClaim, Interval, Measure, Results, Sample, Subject
from preflab.report import numbers, views

_SPECIAL = re.compile(r"([\\`*_\[\]#|~!$<>&])")
_FENCES = re.compile(r"`+")


def render_markdown(results: Results) -> str:
    """The short report. The same results give the same text."""
    blocks = [_verdict(results), _claims(results), _paper(results), _arms(results), _comparisons(results)]
    blocks += [_pairwise(results)]
    blocks += [_reward_models(results), _samples(results), _caveats(results)]
    if results.command:
        blocks.append(f"## Repeat it\n\n{fenced(results.command)}")
    if results.versions:
        blocks.append(escaped(", ".join(f"{name} {version}" for name, version in results.versions.items())))
    return "\n\n".join(block for block in blocks if block) + "\n"


def escaped(value: str) -> str:
    """Text on one line that Markdown and HTML take as text."""
    return _SPECIAL.sub(r"\\\1", text.one_line(value))


def fenced(value: str) -> str:
    """Text in a code block that it cannot close."""
    visible = text.visible(value)
    fence = "`" * max([3, *(len(run) + 1 for run in _FENCES.findall(visible))])
    return f"{fence}text\n{visible}\n{fence}"


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells are Markdown already: the first column to the left, the others to the right."""
    lines = [header, [":--", *("--:" for _ in header[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _verdict(results: Results) -> str:
    verdict = results.verdict
    lines = [f"# {escaped(verdict.sentence)}", "", f"*{escaped(results.question)}*", ""]
    if results.unfinished:
        lines += [f"**{escaped(results.unfinished)}**", ""]
    for sentence in results.unrewarded:
        lines += [f"**{escaped(sentence)}**", ""]
    for evaluator in results.evaluators:
        if not evaluator.can_rank:
            lines += [f"**The evaluator {escaped(evaluator.name)} cannot rank.** No difference here is evidence.", ""]
    other = f"{views.holds_words(results).lower()}. {escaped(verdict.other_budget)}".rstrip()
    lines += [
        f"- Study: {escaped(results.study)}, model {_subject(results.model)}, testbed {_subject(results.testbed)}",
        f"- Certainty: {views.certainty_words(results)}. {escaped(verdict.method)}".rstrip(),
        f"- Equal for all arms: {views.budget_words(results)}",
        f"- At equal {views.other_budget(results)} instead: {other}",
        f"- Not told apart from the best: {escaped(views.tied_words(results))}",
    ]
    return "\n".join(lines)


def _subject(subject: Subject) -> str:
    notices = f" ({escaped('; '.join(subject.notices))})" if subject.notices else ""
    return escaped(subject.name) + notices


def _claims(results: Results) -> str:
    if not results.claims:
        return ""
    metric = views.measure_of(results, results.headline)
    head = ["Claim", "Outcome here", "Contrast", escaped(metric.label), "95% interval", "Claimed"]
    head += ["The paper, on other models"]
    return f"## Claims\n\n{escaped(views.family_words(results))}\n\n" + grid(
        head, [_claim_row(decided, metric) for decided in results.claims]
    )


def _claim_row(decided: DecidedClaim, metric: Measure) -> list[str]:
    claim, doubt = decided.claim, views.doubt_words(decided)
    return [
        f"**{escaped(views.claim_name(claim))}** {escaped(claim.text)}",
        f"**{decided.outcome}**" + (f" ({escaped(doubt)})" if doubt else ""),
        escaped(views.contrast_words(claim)),
        numbers.format_difference(metric, decided.value.estimate),
        escaped(numbers.format_bounds(metric, decided.value, sign=True) or numbers.DASH),
        escaped(views.rule_words(claim, metric)),
        escaped(claim.paper) or numbers.DASH,
    ]


def _paper(results: Results) -> str:
    table = results.paper
    if table is None:
        return ""
    note = f"{table.title}, as the paper prints it: other models, other data. {table.note}".rstrip()
    rows = [[escaped(cell) or numbers.DASH for cell in row] for row in table.rows]
    return f"## The paper's figures\n\n{escaped(note)}\n\n" + grid([escaped(name) for name in table.columns], rows)


def _reward_models(results: Results) -> str:
    if not results.reward_models:
        return ""
    head = ["Stage", "Accuracy", "Log-loss", "Calibration error", "Pairs", "Measured on"]
    rows = [
        [
            escaped(model.name),
            escaped(numbers.format_share_interval(model.accuracy)),
            *(numbers.format_number(value) for value in (model.loss, model.calibration_error, model.pairs)),
            escaped(model.measured_on),
        ]
        for model in results.reward_models
    ]
    return "## Reward models\n\n" + grid(head, rows)


def _arms(results: Results) -> str:
    metrics = views.main_measures(results)
    header = ["Arm", *(escaped(metric.heading) for metric in metrics)]
    header += [f"{escaped(metrics[0].label)} at T=1", "labels, calls", "updates", "FLOP", "samples an answer"]
    return "## The arms\n\n" + grid(header, [_arm_row(arm, metrics) for arm in results.arms])


def _arm_row(arm: ArmResult, metrics: Sequence[Measure]) -> list[str]:
    unit = views.measure(arm, metrics[0].name, decoding="unit")
    cells = [_cell(metric, views.reported_value(arm, metric.name)) for metric in metrics] + [_cell(metrics[0], unit)]
    costs = [numbers.format_number(views.labels(arm)), numbers.format_number(views.spent(arm, "updates"))]
    costs += [numbers.format_scaled(views.spent(arm, "flops")), numbers.format_number(arm.inference_cost)]
    return [escaped(arm.name), *cells, *costs]


def _cell(metric: Measure, value: Interval) -> str:
    return f"{numbers.format_quantity(metric, value.estimate)} {escaped(numbers.format_bounds(metric, value))}".strip()


def _comparisons(results: Results) -> str:
    if not results.comparisons:
        return ""
    rows: list[list[str]] = []
    for pair in results.comparisons:
        metric = views.measure_of(results, pair.metric)
        gap = numbers.format_difference(metric, pair.estimate)
        ends = numbers.format_bounds(metric, pair, sign=True) or numbers.DASH
        names = f"{escaped(pair.first)} − {escaped(pair.second)}"
        outcome = escaped(views.outcome_words(pair)) + (", preliminary" if pair.preliminary else "")
        rows.append([names, escaped(metric.label), gap, escaped(ends), numbers.format_number(pair.p_value), outcome])
    return "## Arm against arm\n\n" + grid(["Pair", "Measure", "Difference", "95% interval", "p", "Outcome"], rows)


def _pairwise(results: Results) -> str:
    if not results.pairwise:
        return ""
    rows = [
        [
            escaped(f"{pair.name}: {pair.first} against {pair.second}"),
            _cell(pair.measure, pair.win_rate),
            numbers.format_share(pair.ties),
            numbers.format_number(pair.p_value),
            escaped(views.pairwise_words(pair)) + (", preliminary" if pair.win_rate.preliminary else ""),
        ]
        for pair in results.pairwise
    ]
    return "## Answer against answer\n\n" + grid(["Pair", "Win rate of the first", "Ties", "p", "Outcome"], rows)


def _samples(results: Results) -> str:
    """The first sample of all: enough to see what the arms write."""
    return "\n\n".join(_sample_lines(results.samples[0])) if results.samples else ""


def _sample_lines(sample: Sample) -> Iterator[str]:
    yield "## A sample to read"
    yield fenced(sample.prompt)
    for answer in sample.answers:
        outcome = f": {escaped(answer.outcome)}" if answer.outcome else ""
        yield f"**{escaped(answer.arm)}**{outcome}"
        yield fenced(answer.text)


def _caveats(results: Results) -> str:
    if not results.caveats:
        return ""
    return "## What to keep in mind\n\n" + "\n".join(f"- {escaped(caveat)}" for caveat in results.caveats)
