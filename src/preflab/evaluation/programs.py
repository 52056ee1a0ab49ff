"""Computes pass@k and k@n for each problem. k@n filters samples by the public tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from preflab.errors import UserError
from preflab.evaluation.base import GradedPrompt
from preflab.evaluation.clusters import check_inputs, compute_cluster_chance, find_behaviours, group_by_behaviour
from preflab.evaluation.measures import k_at_n, pass_at_k
from preflab.evaluation.settings import CLUSTERED, Evaluation
from preflab.testbeds.base import Testbed
from preflab.types import Problem, Prompt, Test


def rates(
    spec: Evaluation, testbed: Testbed, groups: Sequence[GradedPrompt], seed_for: Callable[..., int]
) -> list[dict[str, float]]:
    """Returns one mapping for each problem. It maps the name of each measure (pass@k and k@n) to the measure's value.
    Raises `UserError` if the settings contain k@n and a problem's public tests are missing or unsuitable."""
    counts = [(len(grades), sum(grade.score > 0 for grade in grades)) for _, _, grades in groups]
    ks = dict.fromkeys((1, *spec.k))
    values = [{f"pass@{k}": pass_at_k(samples, correct, k) for k in ks} for samples, correct in counts]
    if not spec.submissions:
        return values
    submitted = rate_submissions(spec, testbed, groups, seed_for)
    return [first | second for first, second in zip(values, submitted, strict=True)]


def rate_submissions(
    spec: Evaluation, testbed: Testbed, groups: Sequence[GradedPrompt], seed_for: Callable[..., int]
) -> list[dict[str, float]]:
    """Returns each problem's k@n for each pair (k, n) of the settings. If the settings use clusters, also returns k@n
    with submissions that are chosen by clusters."""
    tests = {prompt.id: _public(prompt) for prompt, _, _ in groups}
    rows = [(prompt.id, answer.text) for prompt, answers, _ in groups for answer in answers]
    verdicts = testbed.judge([(text, tests[name]) for name, text in rows], problems=[name for name, _ in rows])
    passes = iter(verdicts)
    rated: list[dict[str, float]] = []
    for prompt, answers, grades in groups:
        graded = zip(answers, grades, strict=True)
        kept = [(answer.text, grade.score > 0) for answer, grade in graded if next(passes).correct]
        right = sum(good for _, good in kept)
        values = {f"{k}@{n}": k_at_n(len(answers), len(kept), right, k, n) for k, n in spec.submissions}
        if spec.clusters:
            texts, seed = [text for text, _ in kept], seed_for("clusters", prompt.id)
            behaviours = find_behaviours(testbed, texts, tests[prompt.id], spec.clusters, seed)
            clusters = group_by_behaviour(behaviours, [good for _, good in kept])
            values |= {f"{k}@{n}{CLUSTERED}": compute_cluster_chance(clusters, k) for k, n in spec.submissions}
        rated.append(values)
    return rated


def check_public(spec: Evaluation, testbed: Testbed) -> None:
    """Raises `UserError` if the settings contain k@n and a problem has no public tests, or if the settings use clusters
    and the public tests are code. preflab calls this function before training and sampling."""
    if spec.submissions:
        for prompt in testbed.prompts("test"):
            tests = _public(prompt)
            if spec.clusters:
                check_inputs(tests)


def _public(prompt: Prompt) -> Sequence[Test]:
    tests = prompt.public_tests if isinstance(prompt, Problem) else ()
    if not tests:
        raise UserError(
            f"k@n filters samples by public tests, but problem {prompt.id!r} has no public tests. Make the first N "
            "hidden tests public (`public_first: N`, `--public-first N`), or remove `submissions`."
        )
    return tests
