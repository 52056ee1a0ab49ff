"""The sentence about the other budget, which stands under the verdict."""

from __future__ import annotations

from preflab.analysis.record import Comparison
from preflab.analysis.statistics import Winner
from preflab.analysis.verdict import Evidence, Used, holds_under_other_budget

BEATEN = Comparison(first="ppo", second="dpo", estimate=0.1, low=0.05, high=0.15, verdict="better")
EVIDENCE = Evidence(winner=Winner(leader="ppo", contenders=(), comparisons=(BEATEN,)))


def test_an_amount_of_the_other_budget_is_written_as_in_the_tables() -> None:
    """Protects a sentence that is read beside the tables: compute has a decimal prefix and its unit, 3.96T FLOP, and labels are
    written in full. An equal amount does not change the winner."""
    used: Used = {"ppo": {"compute": 3.96e12, "labels": 8192.0}, "dpo": {"compute": 2.64e12, "labels": 8000.0}}
    holds, words = holds_under_other_budget(EVIDENCE, "labels", used)
    assert holds == "unknown" and "ppo used more compute (3.96T FLOP) than dpo (2.64T FLOP)." in words
    holds, words = holds_under_other_budget(EVIDENCE, "compute", used)
    assert holds == "unknown" and "ppo used more labels (8,192) than dpo (8,000)." in words
    holds, words = holds_under_other_budget(EVIDENCE, "compute", {"ppo": used["ppo"], "dpo": used["ppo"]})
    assert holds == "yes" and words == "ppo used no more labels than any arm that it beat (8,192)."
