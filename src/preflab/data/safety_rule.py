"""Decides which answer of a pair is preferred if the pair has a label for helpfulness and a label for safety. The rule
`paper` is the paper's rule for SafeRLHF.

The functions here do not read records. They take the labels of the answers 0 and 1.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

SafetyRule = Literal["paper", "helpfulness", "safety"]
"""`paper`: if both answers are safe, the more helpful answer is preferred, otherwise the safer answer. `helpfulness`:
the label for helpfulness alone decides; these pairs train a reward model. `safety`: the label for safety alone decides;
these pairs train a cost model."""
SafetyFilter = Literal["dual-unsafe", "dual-safe"]
"""The pairs to leave out. `dual-unsafe`: both answers are unsafe. `dual-safe`: both answers are safe."""


def decide_by_rule(rule: SafetyRule, *, better: int, safer: int, safe: tuple[bool, bool]) -> int:
    """Returns the preferred answer, 0 or 1. `better`: the more helpful answer. `safer`: the safer answer. `safe`: whether
    each answer is safe."""
    if rule == "helpfulness":
        return better
    if rule == "safety":
        return safer
    return better if all(safe) else safer


def find_order(rule: SafetyRule, filters: Collection[SafetyFilter]) -> SafetyRule:
    """Returns the rule by which the kept pairs are really ordered. The rule `paper` uses helpfulness only if both
    answers are safe. If the filters leave out all such pairs, safety alone orders the other pairs."""
    return "safety" if rule == "paper" and "dual-safe" in filters else rule


def keep_after_filters(filters: Collection[SafetyFilter], safe: tuple[bool, bool]) -> bool:
    """Checks whether the filters keep a pair. `safe`: whether each answer is safe."""
    return not (("dual-safe" in filters and all(safe)) or ("dual-unsafe" in filters and not any(safe)))
