"""Makes a finding about the counter-example in the paper's Table 1. The finding contains the table, DPO's minimisers,
the PPO optima, certificates and a figure.

The paper is Xu et al. 2024, "Is DPO Superior to PPO for LLM Alignment?".
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from preflab.errors import UserError
from preflab.theory import table1
from preflab.theory.drawing import BLACK, BLUE, GREEN, ORANGE, WHITE, make_axes, svg_text
from preflab.theory.finding import Finding, FindingFigure, FindingTable
from preflab.theory.problems import check_beta

_TOP, _BANDS = 1.4, 28  # the figure has _BANDS shades for losses up to _TOP, and uses the last shade for larger losses
_BAND = _TOP / _BANDS

_CLAIM = (
    "Theorem 4.1 (b), Table 1: with pi_ref = (0.5, 0.5, 0) and y1 preferred to y2, the DPO loss has a minimiser that puts "
    "mass on y3, which has pi_ref = 0 and is in no pair. PPO on the learned reward cannot return this minimiser."
)
_NOTES = (
    "With a = pi(y1) and b = pi(y2), L_DPO = log(1 + (b/a)^beta). L_DPO is 0 exactly if b = 0 < a, so the minimisers "
    "form an edge of the triangle. At a = b = 0, L_DPO is undefined (0/0).",
    "The Bradley-Terry loss log(1 + exp(-g)) decreases for all g, because y1 always won. So no finite reward is a "
    "minimum. The PPO optimum is the limit (1, 0, 0), and its certificate is a bound for every element of the "
    "sequence.",
    "The example needs pi_ref(y3) = 0. With any pi_ref(y3) > 0 the same DPO minimiser is also a limit of PPO optima, "
    "for a suitable reward of y3, because no pair determines this reward.",
)


def compute_counterexample(beta: float) -> Finding:
    """Computes Table 1 and its certificates. Raises `UserError` if beta is out of range."""
    check_beta(beta)
    certificates = table1.certify_table1(beta)
    broken = [certificate.name for certificate in certificates if not certificate.holds]
    return Finding(
        name="counterexample",
        title="The counter-example (Table 1)",
        claim=_CLAIM,
        command=f"preflab theory counterexample --beta {beta:g}",
        verdict="refuted" if broken else "holds",
        sentence=_state(certificates, broken),
        tables=(
            *(_tabulate_paper(beta), _tabulate_minimisers(beta)),
            *(_tabulate_sequence(beta), _tabulate_certificates(certificates)),
        ),
        figures=(_draw_loss(beta),),
        notes=_NOTES,
        failure={"beta": beta, "broken": [*broken]} if broken else None,
    )


def _state(certificates: list[table1.Certificate], broken: list[str]) -> str:
    """Returns the verdict as a sentence."""
    if broken:
        return f"{len(broken)} of {len(certificates)} certificates do not hold: {'; '.join(broken)}."
    return (
        f"All {len(certificates)} certificates hold: (0.1, 0, 0.9) has the minimal DPO loss 0, at infinite KL from "
        "pi_ref. The PPO optimum is the limit (1, 0, 0), and no reward has an optimum with mass on y3."
    )


def _tabulate_paper(beta: float) -> FindingTable:
    """Makes the paper's Table 1. Adds the DPO loss and the KL of each policy to the table."""
    minimiser, limit = table1.PAPER_MINIMISER, table1.PPO_LIMIT
    policies = [table1.PAPER_REFERENCE, minimiser, limit]
    losses, kls = table1.dpo_losses(policies, beta), table1.divergences(policies)
    return FindingTable(
        title="Table 1, computed",
        columns=("", "y1", "y2", "y3", "L_DPO", "KL from pi_ref"),
        rows=(
            ("pi_ref", *table1.PAPER_REFERENCE, losses[0], kls[0]),
            ("data", "chosen", "rejected", "absent", "", ""),
            ("a DPO optimum", *minimiser, losses[1], kls[1]),
            ("the PPO optimum (limit)", *limit, losses[2], kls[2]),
        ),
    )


def _tabulate_minimisers(beta: float) -> FindingTable:
    """Makes a table of policies that are DPO minimisers, and of policies that are not."""
    policies: list[table1.Policy] = [
        *((1.0, 0.0, 0.0), (0.5, 0.0, 0.5), table1.PAPER_MINIMISER, (0.001, 0.0, 0.999)),
        *((0.999, 0.001, 0.0), (0.1, 0.001, 0.899), table1.PAPER_REFERENCE),
    ]
    rows: list[tuple[str | float, ...]] = []
    for policy, loss, kl in zip(policies, table1.dpo_losses(policies, beta), table1.divergences(policies), strict=True):
        below = math.log1p(policy[1] ** beta) if policy[1] > 0 else 0.0
        slope = table1.slope_in_logits(policy, beta)
        name = f"({', '.join(f'{share:g}' for share in policy)})"
        rows.append((name, loss, below, slope, kl, "yes" if loss == 0.0 else "no"))
    return FindingTable(
        title="Which policies minimise the DPO loss",
        columns=("policy", "L_DPO", "lower bound", "largest gradient", "KL from pi_ref", "minimiser"),
        rows=tuple(rows),
        note="Lower bound: log(1 + b^beta), because a <= 1; positive if b > 0. Gradient: with respect to the logits; "
        "always 0 for the logit of y3.",
    )


def _tabulate_sequence(beta: float) -> FindingTable:
    """Makes a table of the PPO optima for growing reward gaps.

    The reward of y3 takes each value in `UNSEEN`. For each gap, the table gives the largest mass on y3 that any of
    these values causes.
    """
    sequences = [table1.compute_sequence(beta, unseen) for unseen in table1.UNSEEN]
    masses = [max(step.policy[2] for step in steps) for steps in zip(*sequences, strict=True)]
    rows = [
        (f"{step.gap:g}", *step.policy[:2], mass, step.dpo_loss, math.exp(-step.gap), step.slope, step.kl)
        for step, mass in zip(table1.compute_sequence(beta), masses, strict=True)
    ]
    return FindingTable(
        title="PPO optima along the sequence of rewards",
        columns=("gap g", "pi(y1)", "pi(y2)", "pi(y3)", "L_DPO = L_R", "bound exp(-g)", "dL_R/dg", "KL from pi_ref"),
        rows=tuple(rows),
        note=f"pi(y3): the largest value over r(y3) = {', '.join(f'{value:g}' for value in table1.UNSEEN)}. Where pi(y2) is "
        "0 in the table, it is below the smallest number of double precision. KL tends to log 2 = 0.693.",
    )


def _tabulate_certificates(certificates: list[table1.Certificate]) -> FindingTable:
    rows = tuple((item.name, item.value, item.bound, "yes" if item.holds else "NO") for item in certificates)
    return FindingTable(title="Certificates", columns=("what is computed", "value", "must be", "holds"), rows=rows)


def _draw_loss(beta: float) -> FindingFigure:
    """Draws the DPO loss over the triangle of policies, with DPO's minimisers and the path of the PPO optima."""
    figure, axes = make_axes("b = pi(y2), rejected", width=6.0, height=4.6)
    _shade_loss(figure, axes, beta)
    axes.plot([0, 1], [0, 0], color=ORANGE, linewidth=5, solid_capstyle="butt", clip_on=False, zorder=4)
    axes.plot(0, 0, marker="o", color=WHITE, markeredgecolor=ORANGE, markersize=8, clip_on=False, zorder=5)
    path = [step.policy for step in table1.compute_sequence(beta)]
    axes.plot([p[0] for p in path], [p[1] for p in path], color=BLUE, marker="o", markersize=4, clip_on=False, zorder=6)
    axes.plot([0.5, 1], [0.5, 0], color=BLUE, linewidth=2, zorder=5)
    axes.plot(0.5, 0.5, marker="s", color=BLACK, markersize=8, zorder=7)
    axes.plot(0.1, 0.0, marker="D", color=GREEN, markersize=9, clip_on=False, zorder=7)
    axes.plot(1.0, 0.0, marker="*", color=BLUE, markersize=15, clip_on=False, zorder=8)
    for text, place, colour in (
        ("pi_ref", (0.53, 0.52), BLACK),
        ("PPO: g grows", (0.79, 0.27), BLUE),
        ("PPO's limit", (0.99, 0.05), BLUE),
        ("a DPO optimum of the paper: 0.9 on y3", (0.12, 0.085), GREEN),
        ("DPO minimisers: b = 0 and a > 0", (0.24, 0.025), ORANGE),
    ):
        axes.annotate(text, place, color=colour, fontsize=9.5, fontweight="bold", annotation_clip=False, zorder=9)
    axes.set(xlim=(0, 1.15), ylim=(0, 1), xticks=[0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.set_xlabel("a = pi(y1), chosen; pi(y3) = 1 − a − b")
    axes.grid(visible=False)
    return FindingFigure(
        file="counterexample.svg",
        title=f"The DPO loss over all policies, beta = {beta:g}",
        caption="The loss depends only on b/a, so it is constant on rays from the origin and does not keep pi(y1) from "
        "falling. PPO stays on the edge where y3 has no mass. Dots: PPO's optima at the reward gaps of the table.",
        alt="Triangle of policies: DPO's minimisers form the lower edge, and PPO's optima lie along the far edge and "
        "tend to (1, 0, 0).",
        svg=svg_text(figure, name="counterexample"),
    )


def _shade_loss(figure: Figure, axes: Any, beta: float) -> None:
    """Shades the triangle of policies by L_DPO. A policy is the point (a, b) with a = pi(y1) and b = pi(y2). All
    policies with the loss l are on one ray from the origin. This ray goes through (1 - s, s) with
    s = sigma(log(e^l - 1)/beta)."""
    colours, scale = LinearSegmentedColormap.from_list("loss", [WHITE, "#8a8d93"]), Normalize(0.0, _TOP)
    logits = [math.log(math.expm1(step * _BAND)) / beta for step in range(1, _BANDS)]
    rays = [0.0, *((1.0 + math.tanh(logit / 2)) / 2 for logit in logits), 1.0]
    for index, (low, high) in enumerate(pairwise(rays)):
        colour = colours(scale((index + 0.5) * _BAND))
        axes.fill([0, 1 - low, 1 - high], [0, low, high], color=colour, linewidth=0.3)
    bar = figure.colorbar(ScalarMappable(scale, colours), ax=axes, label="L_DPO", shrink=0.85, extend="max")
    bar.outline.set_visible(False)


def write_figure(figure: FindingFigure, path: Path) -> None:
    """Writes the figure to a separate file. Raises `UserError` if the file's name does not end in .svg or if the file
    cannot be written.
    """
    if path.suffix != ".svg":
        raise UserError(f"--figure {path}: figures are written as SVG. End the file's name in .svg.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(figure.svg, encoding="utf-8")
    except OSError as error:
        raise UserError(f"The figure cannot be written to {path}: {error.strerror or error}.") from error
