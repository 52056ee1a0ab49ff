"""Describes the model, the testbed, the evaluators, the budget and the tuning of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from preflab.analysis import record
from preflab.analysis.reward_models import pooled_accuracy, pooled_sign_accuracy, rows_on_pairs, stage_results
from preflab.arm.result import PairMeasures, ScorerResult, TrainedResult
from preflab.arm.spec import STAGE, is_trained_elsewhere, saved_models
from preflab.meter import Unit
from preflab.paths import user_path
from preflab.spec import HoldsModels, Spec
from preflab.study.spec import Study
from preflab.study.tuning import choices_within_noise, values_at_edge, went_beyond
from preflab.train.directory import RESULT, RUN_MANIFEST
from preflab.train.finished import read_result
from preflab.train.ownership import FINAL

BUDGET_NOTES: Mapping[Unit, str] = {
    "compute": "A token in a forward pass or a sampled token costs 2N FLOP, and a trained token 6N. An arm is charged for "
    "its critic, reference and reward model, the sampling of pairs, and the stages that it needs. Measuring is not charged.",
    "labels": "Each preference label, or each call of the reward, is counted once.",
}


def describe_model(study: Study, results: Sequence[TrainedResult]) -> record.Subject:
    """Describes the base model by the first of the results whose policy has a known size. A served policy has none."""
    result = next((each for each in results if each.parameters is not None), None)
    if result is None or all(map(is_trained_elsewhere, study.arms.values())):
        return record.Subject(name="policies trained elsewhere", description="each arm names its own")
    size = f"{result.parameters:,} parameters" + (", trained through LoRA" if study.model.lora else "")
    return record.Subject(name=study.model.name, description=size, notices=tuple(result.notices))


def describe_testbed(study: Study) -> record.Subject:
    testbed = study.testbed
    return record.Subject(
        name=testbed.kind_name, description=read_first_paragraph(type(testbed)), language=testbed.language
    )


def describe_evaluator(study: Study, name: str, spec: HoldsModels, directory: Path) -> record.EvaluatorResult:
    """Returns a description of an evaluator. For a learned evaluator, adds the accuracies of its reward model and of
    its cost model on held-out pairs. Each accuracy has a Wilson interval over the pairs of all seeds. The field
    `can_rank` is True if the intervals of `accuracy` and `cost_accuracy` lie above one half."""
    models, costs = saved_models(spec), spec.cost_models()
    by_reward = held_out_rows(study, directory, [path for path in models if path not in costs])
    by_cost = held_out_rows(study, directory, costs)
    unknown = " Its accuracy on held-out pairs is not known." if models and not (by_reward or by_cost) else ""
    result = record.EvaluatorResult(
        name=name,
        description=read_first_paragraph(type(spec)) + unknown,
        accuracy=pooled_accuracy(by_reward),
        cost_accuracy=pooled_accuracy(by_cost),
        sign_accuracy=pooled_sign_accuracy(by_cost),
    )
    return result.model_copy(update={"can_rank": result.doubtful is None})


def held_out_rows(study: Study, directory: Path, models: Sequence[str]) -> list[PairMeasures]:
    """Returns the measurements of the first model in `models` on held-out pairs. For a model from a stage, there is one
    measurement for each seed. For a model that `preflab train` saved, there is a single measurement. Returns [] if a
    measurement is missing."""
    return rows_on_pairs([row for path in models[:1] for row in results_of_model(study, directory, path)])[0]


def results_of_model(study: Study, directory: Path, path: str) -> list[ScorerResult]:
    """Returns the results of the runs that trained a saved model; [] if preflab did not train the model."""
    if path.startswith(STAGE):
        return stage_results(directory, path.removeprefix(STAGE), study.seed_numbers, ScorerResult)
    place = user_path(path)
    is_run = place.name == FINAL and (place.parent / RUN_MANIFEST).is_file() and (place.parent / RESULT).is_file()
    return [read_result(place.parent, ScorerResult)] if is_run else []


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
