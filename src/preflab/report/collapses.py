"""Lists the arms with collapsed runs, explains the rule that defines a collapsed run, and counts diverged runs."""

from __future__ import annotations

from preflab import text
from preflab.analysis import record
from preflab.analysis.record import ArmResult, Results
from preflab.report.metrics import find_metric, rank_arms


def list_collapsed_arms(results: Results) -> list[tuple[ArmResult, record.Collapse]]:
    """Returns the arms with at least one collapsed run, each arm with its `Collapse` record."""
    return [(arm, arm.collapse) for arm in rank_arms(results) if arm.collapse is not None and arm.collapse.seeds]


def explain_collapse(results: Results) -> str:
    """Returns sentences with the definition of a collapsed run. If no run collapsed, adds the upper bound of an arm's
    collapse rate: 'No run collapsed. With 5 seeds the rate of an arm may still be up to 52%.' Returns '' if the study
    trained no arm."""
    known = [(arm.name, arm.collapse) for arm in results.arms if arm.collapse is not None]
    if not results.collapse_rule or not known:
        return ""
    compares = find_metric(results, results.headline).share  # if False, only a diverged run counts as collapsed
    alone = [name for name, collapse in known if compares and not collapse.compared]
    unmeasured = (
        f" For {', '.join(alone)}, no starting policy is measured, so only a diverged run counts." if alone else ""
    )
    rule, rates = results.collapse_rule + unmeasured, [collapse.rate for _, collapse in known]
    if list_collapsed_arms(results):
        return rule
    most = max(rates, key=lambda rate: rate.high or 0.0)
    return (
        f"{rule} No run collapsed. With {text.counted(most.seeds, 'seed')} the rate of an arm may still be up to "
        f"{most.high:.0%}."
    )


def count_diverged(arm: ArmResult) -> int:
    return sum(run.diverged for run in arm.runs)
