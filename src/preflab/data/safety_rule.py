"""Decides which answer of a pair is preferred. The pair has a label for helpfulness and a label for safety. The rule
`paper` is the rule of Xu et al. 2024, "Is DPO Superior to PPO for LLM Alignment?", for SafeRLHF.

The functions of this module do not read records. Their arguments are labels. The two answers of a pair have the numbers
0 and 1.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

SafetyRule = Literal["paper", "helpfulness", "safety"]
"""`paper`: if both answers are safe, the more helpful answer is preferred. Otherwise, the safer answer is preferred.
`helpfulness`: the more helpful answer is preferred. Such pairs train a reward model. `safety`: the safer answer is
preferred. Such pairs train a cost model."""
SafetyFilter = Literal["dual-unsafe", "dual-safe"]
"""A filter that leaves out pairs. `dual-unsafe` leaves out pairs with two unsafe answers. `dual-safe` leaves out pairs
with two safe answers."""


def decide_by_rule(rule: SafetyRule, *, better: int, safer: int, safe: tuple[bool, bool]) -> int:
    """Returns the number (0 or 1) of the preferred answer under a rule. `better`: the number of the more helpful
    answer. `safer`: the number of the safer answer. `safe`: whether each answer is safe."""
    if rule == "helpfulness":
        return better
    if rule == "safety":
        return safer
    return better if all(safe) else safer


def find_order(rule: SafetyRule, filters: Collection[SafetyFilter]) -> SafetyRule:
    """Returns the rule that effectively decides the pairs that pass `filters`. The rule `paper` uses helpfulness only
    for pairs with two safe answers. If one of `filters` removes these pairs, the rule `paper` is equivalent to the rule
    `safety`."""
    return "safety" if rule == "paper" and "dual-safe" in filters else rule


def keep_after_filters(filters: Collection[SafetyFilter], safe: tuple[bool, bool]) -> bool:
    """Returns True if a pair passes all `filters`. Returns False if one of `filters` removes the pair. `safe`: whether
    each answer of the pair is safe."""
    return not (("dual-safe" in filters and all(safe)) or ("dual-unsafe" in filters and not any(safe)))
