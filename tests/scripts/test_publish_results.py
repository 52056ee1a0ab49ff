"""`scripts/publish_results.py`: what is committed of a large study."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from preflab.analysis.record import CurvePoint


def test_a_thin_curve_keeps_its_evaluations(script: Callable[[str], ModuleType]) -> None:
    """Protects the published curves. Of 61 points every tenth stays (61 // 6 = 10: steps 0, 10, ..., 60), and the evaluation at
    step 33. 1.23456 becomes 1.235; what a run used keeps its digits."""
    curve = [
        CurvePoint(
            step=step,
            updates=float(step),
            labels=0.0,
            flops=123456.0 * step,
            tokens=8,
            metrics={"validation": 1.23456 if step == 33 else None, "reward": 1.23456},
        )
        for step in range(61)
    ]
    thin = script("publish_results").thin_curve(curve)
    assert [point.step for point in thin] == [0, 10, 20, 30, 33, 40, 50, 60]
    assert thin[4].metrics == {"validation": 1.235, "reward": 1.235}
    assert thin[4].flops == 123456.0 * 33
