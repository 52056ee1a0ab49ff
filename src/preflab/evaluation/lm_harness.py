"""An evaluator that runs tasks of the LM Evaluation Harness. The tasks show whether alignment has reduced the policy's
general abilities. The evaluator needs the extra `lm-eval`."""

from __future__ import annotations

import importlib.util
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from preflab.errors import UserError, nearest
from preflab.evaluation.base import EvaluatorSpec, PolicyEvaluator
from preflab.evaluation.measure import Measure
from preflab.evaluation.settings import Evaluation
from preflab.fields import Count
from preflab.paths import user_path
from preflab.spec import Context

if TYPE_CHECKING:
    from preflab.models.lm import LanguageModel

SHARES = ("acc", "acc_norm", "exact_match", "em", "f1")
"""The metrics whose values are shares between 0 and 1."""


class LmEval(EvaluatorSpec):
    """Runs tasks of the LM Evaluation Harness (`pip install "preflab[lm-eval]"`) on the policy itself.

    `tasks`: maps each task to its metric, such as `{arc_easy: acc_norm}`. If a task has several filters, name one:
    `{gsm8k: "exact_match,strict-match"}`. `folder`: a folder with task files. Without `folder`, preflab uses the tasks
    that come with the harness, and the harness downloads their data. `limit`: the number of items of each task that are
    used (0: all). `shots`: the number of examples in a prompt (by default, the number that the task sets). `batch`: the
    number of requests that are computed at once."""

    kind: Literal["lm-eval"] = "lm-eval"
    of_policy: ClassVar[bool] = True
    uncounted: ClassVar[str] = "the tasks of lm-eval"
    tasks: Annotated[dict[str, str], Field(min_length=1)]
    folder: str = ""
    limit: Annotated[int, Field(ge=0)] = 0
    shots: Annotated[int, Field(ge=0)] | None = None
    batch: Count = 8

    def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
        return tuple(
            Measure(name=task, share=part_metric(metric)[0] in SHARES, better="higher", note=f"{metric} of lm-eval")
            for task, metric in self.tasks.items()
        )

    @contextmanager
    def open(self, context: Context) -> Generator[LmEvalEvaluator]:
        """Finds the tasks. Raises `UserError` if the harness is not installed, or if it does not know one of the
        tasks."""
        if importlib.util.find_spec("lm_eval") is None:
            raise UserError(
                'The evaluator `lm-eval` needs the LM Evaluation Harness. Run `pip install "preflab[lm-eval]"`, or remove '
                "the evaluator from your settings."
            )
        from preflab.evaluation.harness import find_tasks

        folder = user_path(self.folder) if self.folder else None
        if folder is not None and not folder.is_dir():
            raise UserError(
                f"There is no folder {folder}. Set `folder` of the evaluator `lm-eval` to a folder with task files."
            )
        manager, known = find_tasks(folder)
        for task in self.tasks:
            if task not in known:
                place = "the harness has" if folder is None else f"{folder} has"
                hint = nearest(task, known) if len(known) < 50 else ""
                raise UserError(f"{place[0].upper()}{place[1:]} no task {task!r}.{hint}")
        yield LmEvalEvaluator(self, manager, folder)


class LmEvalEvaluator(PolicyEvaluator):
    """Runs the tasks on a policy. `manager`: the harness's index of tasks."""

    def __init__(self, spec: LmEval, manager: Any, folder: Path | None) -> None:
        self.spec, self.manager, self.folder = spec, manager, folder

    def measure_policy(self, policy: LanguageModel) -> dict[str, dict[str, float]]:
        """Returns, for each task, the value of the task's metric for each item. Raises `UserError` if a task has no
        items, if a task does not have the metric or the filter that the spec names, or if lower values of the metric
        are better."""
        from preflab.evaluation.harness import run_tasks

        results = run_tasks(policy, self.spec, self.manager)
        return {task: read_items(results, task, metric) for task, metric in self.spec.tasks.items()}


def part_metric(metric: str) -> tuple[str, str]:
    """Splits `METRIC,FILTER`, and returns the metric and the filter. The filter is '' if the text does not name a
    filter."""
    name, _, chosen = metric.partition(",")
    return name, chosen


def read_items(results: Mapping[str, Any], task: str, metric: str) -> dict[str, float]:
    """Returns the value of `metric` for each item of a task. `results`: the results that the harness returned."""
    samples = results["samples"].get(task, [])
    if not samples:
        raise UserError(
            f"The task {task!r} gave no items. If it is a group of tasks, name each task of the group instead."
        )
    name, chosen = part_metric(metric)
    filters = [*dict.fromkeys(sample["filter"] for sample in samples)]
    if chosen and chosen not in filters:
        raise UserError(f"The task {task!r} has no filter {chosen!r}.{nearest(chosen, filters)}")
    rows = [sample for sample in samples if sample["filter"] == (chosen or filters[0])]
    if name not in rows[0]:
        raise UserError(
            f"The task {task!r} has no values of the metric {name!r} for single items.{nearest(name, rows[0]['metrics'])}"
        )
    if results["higher_is_better"].get(task, {}).get(name) is False:
        raise UserError(
            f"Lower is better for {name!r} of the task {task!r}, but preflab needs a metric for which higher is better. "
            "Name another metric."
        )
    return {str(row["doc_id"]): float(row[name]) for row in rows}
