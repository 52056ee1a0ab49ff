"""Tests Theorem 4.1 on random tabular problems, or on one problem from a file, and reports the limits of the theorem.

The theorem stands in Xu et al. 2024, "Is DPO Superior to PPO for LLM Alignment?".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preflab.theory.check_figures import draw_bound, draw_reach
from preflab.theory.finding import Finding, FindingTable, TheoryVerdict
from preflab.theory.problems import Problems, ProblemShape, draw_problems, problem_as_json, read_tabular_problem
from preflab.theory.theorem import CERTIFIED, LOSS_ROUNDING, REWARD_GAPS, TheoremCertificates, verify_theorem

_CASES = (("full", "not full"), ("connected", "not connected"), ("mixed", "partly separable", "separable"))
_CLAIM = (
    "Theorem 4.1: the policies that reward-model training and PPO can return are a proper subset of the policies that "
    "minimise the DPO loss. Two statements are tested. (a) Every PPO optimum has the minimal DPO loss. (b) A DPO minimiser "
    "that PPO cannot return exists exactly if a response that is in no pair has pi_ref = 0."
)
_NOTES = (
    "The theorem says that DPO's class contains every PPO optimum. It also contains policies that put mass where the "
    "reference has no mass.",
    "If pi_ref has full support, pi -> beta log(pi/pi_ref) is a bijection between positive policies and rewards up to "
    "a constant for each prompt. So the two classes are then equal, uncovered responses included. A language model's "
    "softmax has full support, so the theorem does not separate the methods for language models.",
    "In practice the methods therefore differ in which policy of the class the optimisation finds (Section 4.2; "
    "`preflab theory synthetic`).",
    "Both classes include their limits. With separable preferences the Bradley-Terry minimum is not attained: an "
    "optimum is the limit of a sequence with growing reward gaps, and the certificate is a bound for every element of "
    "the sequence.",
    "The optimum is unique only if the comparisons connect all responses with pi_ref > 0. Otherwise the data do not "
    "determine one constant for each group of linked responses, so both classes contain many policies.",
    "A response that is compared must have pi_ref > 0; otherwise the DPO loss is log(0/0). Policies and rewards are "
    "tables here. The test says nothing about what a network can represent or what an algorithm finds.",
)


def check_theorem(count: int, seed: int, shape: ProblemShape) -> Finding:
    """Verifies the theorem on `count` random problems. Raises `UserError` if a number is out of its range."""
    beta = "" if shape.beta is None else f" --beta {shape.beta:g}"
    options = f"--trials {count} --seed {seed} --prompts {shape.prompts} --responses {shape.responses}"
    options = f"{options} --coverage {shape.coverage:g}{beta}"
    return _make_finding(*verify_all(draw_problems(count, seed, shape)), options)


def replay_problem(file: Path) -> Finding:
    """Verifies the theorem on the problem in a file. Raises `UserError` if the file does not contain a valid
    problem."""
    return _make_finding(*verify_all([read_tabular_problem(file)]), f"--replay {file}")


def verify_all(chunks: Iterable[Problems]) -> tuple[TheoremCertificates, dict[str, Any] | None]:
    """Verifies the theorem on all problems in `chunks`.

    Returns the certificates, and the first failed problem as plain data (for `--replay`), or None if no problem failed.
    """
    parts: list[TheoremCertificates] = []
    failing: dict[str, Any] | None = None
    for problems in chunks:
        parts.append(verify_theorem(problems))
        wrong = (~parts[-1].holds).nonzero()
        if failing is None and len(wrong):
            failing = problem_as_json(problems, int(wrong[0]))
    return _join(parts), failing


def _join(parts: Sequence[Any]) -> Any:
    """Concatenates the certificates of all chunks along the axis of problems."""
    if isinstance(parts[0], Tensor):
        return torch.cat([*parts])
    return type(parts[0])(*map(_join, zip(*parts, strict=True)))


def _make_finding(trials: TheoremCertificates, failing: dict[str, Any] | None, options: str) -> Finding:
    """Makes a finding from the certificates of the trials. A trial checks one problem. `failing`: the first problem
    whose check failed, or None. `options`: the command-line options that repeat the trials."""
    return Finding(
        name="check",
        title="Theorem 4.1 on random problems",
        claim=_CLAIM,
        command=f"preflab theory check {options}",
        verdict=_decide(trials),
        sentence=_state(trials),
        tables=(_tabulate_cases(trials), _tabulate_responses(trials), _tabulate_bound(trials)),
        figures=(draw_bound(trials), draw_reach(trials)),
        notes=_NOTES,
        failure=failing,
    )


def _decide(trials: TheoremCertificates) -> TheoryVerdict:
    """Returns the verdict on the claim. If the interval around inf L is too wide in a trial, this trial leaves the
    claim undecided.

    Any other failed trial is a counter-example, and refutes the claim.
    """
    if bool((~trials.holds & trials.solved).any()):
        return "refuted"
    return "holds" if bool(trials.holds.all()) else "not decided"


def _state(trials: TheoremCertificates) -> str:
    """Returns the verdict as a sentence with numbers."""
    count, wrong = len(trials.holds), int((~trials.holds).sum())
    if wrong:
        failed = int((~trials.holds).nonzero()[0])
        checks = {"solved": trials.solved, "attained": trials.attained, "exact": trials.exact}
        parts = [name for name, passed in checks.items() if not bool(passed[failed])]
        return (
            f"{wrong:,} of {count:,} trials failed. The first is trial {failed} (not {', not '.join(parts)}). "
            "This trial is printed as JSON for --replay."
        )
    problems = "one problem" if count == 1 else f"{count:,} random problems"
    strict = int(trials.moved.outside.any(-1).any(-1).sum())
    full = int((trials.cases[:, 0] == 0).sum())
    return (
        f"On {problems} every PPO optimum has the minimal DPO loss, certified to {float(trials.infimum.gap.max()):.1e}. "
        f"In {strict:,} of them, PPO cannot return some DPO minimiser. These are exactly the problems in which an "
        f"uncovered response has pi_ref = 0. In the other {full:,}, where pi_ref has full support, the classes are equal."
    )


def _tabulate_cases(trials: TheoremCertificates) -> FindingTable:
    """Makes a table with one row for each combination of the properties in `_CASES`. Each row gives the number of
    trials with this combination, so that the table shows whether every combination occurred."""
    rows: list[tuple[str | int | float, ...]] = []
    for numbers in product(*(range(len(names)) for names in _CASES)):
        case = (trials.cases == torch.tensor(numbers)).all(-1)
        names = [names[number] for names, number in zip(_CASES, numbers, strict=True)]
        strict = int(trials.moved.outside[case].any(-1).any(-1).sum())
        width = float(trials.infimum.gap[case].max()) if bool(case.any()) else "not drawn"
        drawn, attained = int(case.sum()), int(trials.attained[case].sum())
        rows.append((*names, drawn, attained, strict, width, drawn - int(trials.holds[case].sum())))
    return FindingTable(
        title="Trials by case",
        columns=(
            *("support of pi_ref", "comparisons", "preferences", "trials", "(a) certified"),
            *("minimiser outside PPO's class", "widest interval of inf L", "failed"),
        ),
        rows=tuple(rows),
        note="Comparisons are connected if pairs link all compared responses of every prompt. Preferences are "
        "separable if a reward explains all of them, and mixed if a finite reward attains the minimum.",
    )


def _tabulate_responses(trials: TheoremCertificates) -> FindingTable:
    """Makes the table for part (b) of the claim. The test of part (b) moves mass onto every uncovered response of every
    trial."""

    def count(name: str, here: Tensor) -> tuple[str | int | float, ...]:
        moved = trials.moved
        counts = (int((flags & here).sum()) for flags in (moved.minimal, moved.outside, moved.inside))
        largest = float(moved.kl[here].max()) if bool(here.any()) else "not drawn"
        return (name, int(here.sum()), *counts, largest)

    uncovered, zero = ~trials.covered, ~trials.covered & trials.predicted
    return FindingTable(
        title="Mass moved onto each uncovered response",
        columns=(
            *("uncovered response", "tried", "DPO minimisers"),
            *("outside PPO's class", "inside", "largest KL from pi_ref"),
        ),
        rows=(count("pi_ref = 0", zero), count("pi_ref > 0", uncovered & ~zero)),
        note="Between 5% and 95% of a minimiser's mass in the prompt is moved. Outside: no reward has the new policy "
        "as its optimum. Inside: beta log(pi/pi_ref) is an optimal reward, and the new policy is its optimum.",
    )


def _tabulate_bound(trials: TheoremCertificates) -> FindingTable:
    """Makes the table for part (a) of the claim, with one row for each reward gap.

    The excess is the DPO loss minus the certified lower bound. Each row gives the largest excess over all trials. It
    also gives the largest difference between the excess of a trial and the excess that the theorem allows.
    """
    limit = trials.infimum.limit > 0
    rows: list[tuple[str | int | float, ...]] = []
    for index, gap in enumerate(REWARD_GAPS):
        excess = [float(trials.excess[c, index].max()) if bool(c.any()) else "not drawn" for c in (~limit, limit)]
        worst = float((trials.excess[:, index] - trials.allowed[:, index]).max())
        rows.append((f"{gap:g}", *excess, float(torch.nn.functional.softplus(torch.tensor(-gap).double())), worst))
    return FindingTable(
        title="Excess of the PPO optimum's DPO loss over the certified lower bound of inf L",
        columns=(
            *("reward gap g", "largest if the minimum is attained", "largest if it is only a limit"),
            *("log(1 + exp(-g))", "largest amount above the allowed excess"),
        ),
        rows=tuple(rows),
        note="The allowed excess is the sum of three terms: the width of the certified interval around inf L, "
        f"log(1 + exp(-g)) times the share of one-way pairs, and {LOSS_ROUNDING:g} for rounding. A trial fails if the "
        f"interval is wider than {CERTIFIED:g}. A pair is one-way if no chain of preferences leads back from its loser "
        "to its winner. Without one-way pairs the minimum is attained, and the loss does not depend on g.",
    )
