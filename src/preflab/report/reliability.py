"""Draws reliability diagrams. A reliability diagram shows the share of pairs that a reward model orders correctly,
against the model's predicted probability of the correct order. Needs matplotlib."""

from __future__ import annotations

from markupsafe import Markup

from preflab.analysis.record import Results, RewardModelResult
from preflab.report.panels import panel
from preflab.report.svg import MUTED, arm_colour


def diagrams(results: Results) -> dict[str, Markup]:
    """Draws a reliability diagram for each reward model that has reliability bins. Maps the model's name to the diagram.
    On the dashed diagonal, the share of correctly ordered pairs equals the predicted probability."""
    return {
        model.name: _diagram(model, f"reliability{order}")
        for order, model in enumerate(results.reward_models)
        if model.reliability
    }


def _diagram(model: RewardModelResult, name: str) -> Markup:
    alt = f"For bins of pairs: the share that {model.name} orders correctly, against the probability that it predicts."
    title, measured = f"{model.name}: ordered correctly", "given answers; nothing is sampled"
    with panel(name=name, title=title, measured=measured, x="stated probability", alt=alt, right=0.96) as drawn:
        known = [(row.stated, row.right, row.count) for row in model.reliability]
        places = [(x, y, count) for x, y, count in known if x is not None and y is not None]
        most = max(count for _, _, count in places)
        low = min([0.5, *(y for _, y, _ in places)])
        drawn.axes.plot([0.5, 1], [0.5, 1], color=MUTED, linewidth=1.2, linestyle=(0, (3, 3)))
        drawn.axes.plot([x for x, _, _ in places], [y for _, y, _ in places], color=arm_colour(1), linewidth=1.4)
        for x, y, count in places:  # a larger mark stands for more pairs
            size = 4 + 9 * (count / most) ** 0.5
            drawn.axes.plot(x, y, marker="o", markersize=size, color=arm_colour(1), markeredgewidth=0, alpha=0.85)
        drawn.axes.set_xlim(0.48, 1.02)
        drawn.axes.set_ylim(low - 0.04, 1.04)
        drawn.axis_numbers("x", share=True)
        drawn.axis_numbers("y", share=True)
    return drawn.svg
