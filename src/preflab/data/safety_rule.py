"""Decides pairs of answers that have two labels, one for helpfulness and one for safety, as the paper does on SafeRLHF.

The functions here know no records: they take plain labels of the answers 0 and 1.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

SafetyRule = Literal["paper", "helpfulness", "safety"]
"""`paper`: if both answers are safe, the more helpful one is preferred, otherwise the safer one. `helpfulness` and
`safety`: this label alone decides; they train a reward model and a cost model."""
SafetyFilter = Literal["dual-unsafe", "dual-safe"]
"""The pairs to leave out: those whose answers are both unsafe, or both safe."""


def decide_by_rule(rule: SafetyRule, *, better: int, safer: int, safe: tuple[bool, bool]) -> int:
    """Returns the preferred answer, 0 or 1. `better`: the more helpful answer. `safer`: the safer answer. `safe`: whether
    each answer is safe."""
    if rule == "helpfulness":
        return better
    if rule == "safety":
        return safer
    return better if all(safe) else safer


def keep_after_filters(filters: Collection[SafetyFilter], safe: tuple[bool, bool]) -> bool:
    """Checks whether the filters keep a pair. `safe`: whether each answer is safe."""
    return not (("dual-safe" in filters and all(safe)) or ("dual-unsafe" in filters and not any(safe)))
