"""Describes the model, the testbed, the evaluators, the budget and the tuning of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from preflab.analysis import record
from preflab.analysis.reward_models import pooled_accuracy, rows_on_pairs, stage_results
from preflab.arm.spec import STAGE, is_trained_elsewhere
from preflab.meter import Unit
from preflab.spec import HoldsModels, Spec
from preflab.study.spec import Study, model_stages
from preflab.study.tuning import choices_within_noise, values_at_edge, went_beyond

BUDGET_NOTES: Mapping[Unit, str] = {
    "compute": "A token in a forward pass or a sampled token costs 2N FLOP, and a trained token 6N. An arm is charged for "
    "its critic, reference and reward model, the sampling of pairs, and the stages that it needs. Measuring is not charged.",
    "labels": "Each preference label, or each call of the reward, is counted once.",
}


def describe_model(study: Study, result: Mapping[str, Any]) -> record.Subject:
    if all(map(is_trained_elsewhere, study.arms.values())):
        return record.Subject(name="policies trained elsewhere", description="each arm names its own")
    size = f"{result['parameters']:,} parameters" + (", trained through LoRA" if study.model.lora else "")
    return record.Subject(name=study.model.name, description=size, notices=tuple(result["notices"]))


def describe_testbed(study: Study) -> record.Subject:
    testbed = study.testbed
    return record.Subject(name=testbed.kind, description=read_first_paragraph(type(testbed)), language=testbed.language)


def describe_evaluator(study: Study, name: str, spec: HoldsModels, directory: Path) -> record.EvaluatorResult:
    """Returns a description of an evaluator. For a learned evaluator, adds the accuracies of its reward model and of
    its cost model on held-out pairs. Each accuracy has a Wilson interval over the pairs of all seeds. `can_rank` says
    whether the intervals of `accuracy` and `cost_accuracy` lie above one half."""
    costs = [path.removeprefix(STAGE) for path in spec.cost_models() if path.startswith(STAGE)]
    rewards = [stage for stage in model_stages(spec) if stage not in costs]
    by_reward = held_out_rows(study, directory, rewards)
    by_cost = held_out_rows(study, directory, costs)
    result = record.EvaluatorResult(
        name=name,
        description=read_first_paragraph(type(spec)),
        accuracy=pooled_accuracy(by_reward),
        cost_accuracy=pooled_accuracy(by_cost),
        sign_accuracy=pooled_accuracy(by_cost, "sign_accuracy"),
    )
    return result.model_copy(update={"can_rank": result.doubtful is None})


def held_out_rows(study: Study, directory: Path, stages: Sequence[str]) -> list[Mapping[str, Any]]:
    """Returns the measurements of the first of these stages on held-out pairs, one measurement for each seed. Returns
    [] if a seed has no measurement."""
    results = [result for stage in stages[:1] for result in stage_results(directory, stage, study.seed_numbers)]
    return rows_on_pairs(results)[0]


def describe_budget(study: Study) -> record.SharedBudget:
    if study.budget is None:
        return record.SharedBudget(binding="none")
    unit = study.budget.unit
    return record.SharedBudget(binding=unit, amount=study.budget.amount, note=BUDGET_NOTES[unit])


def describe_tuning(study: Study) -> record.TuningResult:
    if study.tuning is None:
        return record.TuningResult(
            note="Nothing was tuned for this study. Every arm has the settings that this report shows."
        )
    count, seeds = study.tuning.trials, study.tuning.seeds
    named = f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
    extended = (
        "If an arm's best value was the smallest or largest of its grid, one value beyond the grid was also tried. "
    )
    extended = extended if went_beyond(study.tuning) else ""
    temperature = "the best temperature" if len(study.evaluation.temperatures) > 1 else "temperature 1"
    return record.TuningResult(
        note=f"Each arm had up to {count} trials. {extended}The best trial was chosen on the validation split. The "
        f"tuning used the {named}, which the report does not use.",
        metric=f"validation score at {temperature}",
        trials=study.tuning.shipped,
        within_noise=tuple(choices_within_noise(study.tuning)),
        at_edge=tuple(edge.words for edge in values_at_edge(study.tuning)),
    )


def read_first_paragraph(spec_class: type[Spec]) -> str:
    """Returns the first paragraph of the docstring of a spec class, on one line. Reports print it as a description."""
    return " ".join((spec_class.__doc__ or "").split("\n\n")[0].split())
