"""preflab: which alignment method wins on my model and my task, by how much, and can I trust the answer?

The names in `__all__` are the stable interface. Each name is imported when it is first used (PEP 562). So `import
preflab` takes milliseconds and does not import torch or transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from preflab._version import __version__

if TYPE_CHECKING:
    from preflab.api import (
        StudyOutcome,
        Trained,
        ask_people,
        compare,
        compare_policies,
        fit,
        measure_win_rates,
        plan_study,
        report_study,
        run_study,
    )
    from preflab.contest.record import ContestResult
    from preflab.errors import UserError
    from preflab.spec import Context, Spec
    from preflab.study.forecast.make import Forecast
    from preflab.study.load import load_study
    from preflab.types import Completion, Demonstration, Preference, Problem, Prompt, Ranking, Turn, Verdict

_HOMES = {
    "preflab.errors": ("UserError",),
    "preflab.spec": ("Context", "Spec"),
    "preflab.api": (
        "StudyOutcome",
        "Trained",
        "ask_people",
        "compare",
        "compare_policies",
        "fit",
        "measure_win_rates",
        "plan_study",
        "report_study",
        "run_study",
    ),
    "preflab.contest.record": ("ContestResult",),
    "preflab.study.forecast.make": ("Forecast",),
    "preflab.study.load": ("load_study",),
    "preflab.types": (
        "Completion",
        "Demonstration",
        "Preference",
        "Problem",
        "Prompt",
        "Ranking",
        "Turn",
        "Verdict",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # a literal list for type checkers; a test checks that the list agrees with _HOMES
    "Completion",
    "ContestResult",
    "Context",
    "Demonstration",
    "Forecast",
    "Preference",
    "Problem",
    "Prompt",
    "Ranking",
    "Spec",
    "StudyOutcome",
    "Trained",
    "Turn",
    "UserError",
    "Verdict",
    "__version__",
    "ask_people",
    "compare",
    "compare_policies",
    "fit",
    "load_study",
    "measure_win_rates",
    "plan_study",
    "report_study",
    "run_study",
]


def __getattr__(name: str) -> Any:
    """Imports a public name from the module that defines it, when the name is first used."""
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'preflab' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
