"""Draws the two figures of Theorem 4.1: the excess of the DPO loss for growing reward gaps, and the KL of DPO
minimisers with mass on an uncovered response."""

from __future__ import annotations

import math

from preflab.theory.drawing import BLACK, BLUE, GREY, ORANGE, make_axes, svg_text
from preflab.theory.finding import FindingFigure
from preflab.theory.theorem import REWARD_GAPS, TheoremCertificates

_FLOOR = 1e-17  # the y value at which a difference of zero is drawn on the logarithmic axis
_POINTS = 500  # the largest number of minimisers inside PPO's class that the figure shows


def draw_bound(trials: TheoremCertificates) -> FindingFigure:
    """Draws the largest excess of the DPO loss at each reward gap g, and its bound log(1 + exp(-g)). One kind of marker
    shows the trials in which the loss attains its minimum. The other kind shows the trials in which the loss only
    approaches its infimum."""
    figure, axes = make_axes("DPO loss of the PPO optimum\nminus the lower bound of inf L")
    xs = [0.0, *REWARD_GAPS]
    axes.plot(xs, [math.log1p(math.exp(-x)) for x in xs], color=BLACK, linewidth=1.2, label="bound log(1 + exp(−g))")
    limit = trials.infimum.limit > 0
    for case, colour, marker, name in (
        (limit, ORANGE, "o", "largest, preferences separable (in part)"),
        (~limit, BLUE, "s", "largest, mixed: minimum attained"),
    ):
        if bool(case.any()):
            values = trials.excess[case].amax(0).clamp(min=_FLOOR).tolist()
            axes.plot(REWARD_GAPS, values, color=colour, marker=marker, linestyle="", markersize=6, label=name)
    axes.set(yscale="log", ylim=(_FLOOR / 3, 10), xlabel="reward gap g of the sequence")
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    return FindingFigure(
        file="check-bound.svg",
        title="(a) PPO's optima reach the minimal DPO loss",
        caption="The largest difference over all trials, and the bound. Differences below 1e-17 are drawn at 1e-17.",
        alt="Largest excess of the DPO loss against the reward gap, below the bound log(1 + exp(-g)).",
        svg=svg_text(figure, name="check-bound"),
    )


def draw_reach(trials: TheoremCertificates) -> FindingFigure:
    """Draws the DPO minimisers pi in which mass was moved onto an uncovered response. The x axis is pi_ref of this
    response, and the y axis is KL(pi || pi_ref)."""
    figure, axes = make_axes("KL(policy || pi_ref) in that prompt, nats")
    moved = trials.moved
    x, y = trials.reference[moved.inside][:_POINTS], moved.kl[moved.inside][:_POINTS]
    top, left = float(y.max()) if len(y) else 1.0, float(x.min()) if len(x) else 1e-3
    decades = [10.0**power for power in range(math.ceil(math.log10(left)), 1)]
    axes.plot(x, y, color=BLUE, marker="o", linestyle="", markersize=3.5, alpha=0.45, label="inside PPO's class")
    if outside := int(moved.outside.sum()):
        axes.plot(left / 4, 1.15 * top, color=ORANGE, marker="D", linestyle="", markersize=9, label="outside")
        place, words = (left / 2, 1.15 * top), f"all {outside:,} at pi_ref = 0, KL = inf"
        axes.annotate(words, place, xytext=(8, -4), textcoords="offset points", color=BLACK, fontsize=9)
    axes.set_xscale("log")
    axes.set_xticks([left / 4, *decades], ["0", *(f"{decade:g}" for decade in decades)])
    axes.minorticks_off()
    axes.axvline(left / 2, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlim=(left / 8, 2), ylim=(0, 1.35 * top))
    axes.set_xlabel("pi_ref of the uncovered response that mass is moved onto")
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    return FindingFigure(
        file="check-reach.svg",
        title="(b) DPO minimisers with mass on an uncovered response",
        caption=f"Every point is a DPO minimiser; at most {_POINTS} minimisers inside PPO's class are drawn. At pi_ref = 0 "
        "all are outside PPO's class, at infinite KL. At any pi_ref > 0 all are inside; a smaller pi_ref only needs a "
        "larger reward.",
        alt="KL against pi_ref: finite for every positive pi_ref, infinite at zero.",
        svg=svg_text(figure, name="check-reach"),
    )
