"""Runs one arm: opens the arm's data and models, trains, saves and measures the model, and writes `result.json`."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from preflab.arm.card import write_card
from preflab.arm.data import (
    check_training_rows,
    preferences_of,
    provenance_of,
    rankings_of,
    rated_of,
    refuse_shared_data,
)
from preflab.arm.fitting import FittedTestbed, fit_held_out
from preflab.arm.measuring import measure_policy
from preflab.arm.memory import MemoryEstimator
from preflab.arm.open import OpenArm, load_policy, open_arm, stages_of
from preflab.arm.origin import manifest_of
from preflab.arm.outside_data import origin_notes
from preflab.arm.result import Counts, HeldOutMeasures, KeptCheckpoint, PlateauEnding, TrainedResult, result_class
from preflab.arm.served import measure_served
from preflab.arm.spec import STAGE, Arm, evaluator_models, input_paths, is_served, stage_path
from preflab.batch import collate_pairs
from preflab.errors import UserError
from preflab.evaluation.evaluate import look
from preflab.methods.base import Parts, Validate
from preflab.methods.shared.held_out_cost import measure_pairs
from preflab.methods.spec import SCORERS
from preflab.models.facts import TRAINED_ON
from preflab.models.lm import LanguageModel
from preflab.models.lora import ADAPTER
from preflab.models.verify import save_verified
from preflab.testbeds.base import read_rows
from preflab.train import faults
from preflab.train.directory import RESULT
from preflab.train.files import new_directory, read_lines, remove, write_json
from preflab.train.finished import altered_files, checksums, has_product, read_result
from preflab.train.log import logger
from preflab.train.loop import Run, open_run
from preflab.train.ownership import (
    FINAL,
    METRICS,
    PRODUCT,
    WRITING,
    record_product,
    refuse_in_the_way,
    remove_own,
)
from preflab.train.sealed import write_sealed
from preflab.train.settings import Keeping
from preflab.types import Preference, Ranking, Split, from_preference, from_ranking

Product = LanguageModel | Sequence[Preference] | Sequence[Ranking]


def execute(arm: Arm, directory: Path, *, keeping: Keeping | None = None, fresh: bool = False) -> TrainedResult:
    """Trains and measures an arm in `directory`, or resumes an interrupted run there. Returns the content of
    `result.json`. `fresh`: whether to delete an earlier run in `directory` and start a new run."""
    if fresh:
        refuse_own_product(arm, directory)
    started = time.monotonic()
    torch.set_num_threads(arm.threads)
    with open_run(
        directory,
        manifest_of(arm) | {"threads": torch.get_num_threads()},
        seed=arm.seed,
        budget=arm.budget,
        evaluations=arm.looks,
        plateau=arm.plateau,
        keeping=keeping,
        fresh=fresh,
        label=arm.name,
    ) as run:
        result = earlier_result(arm, directory)
        if result is None:
            MemoryEstimator({}).refuse_too_large(arm)
            with ExitStack() as stack:
                if is_served(arm):
                    result = measure_served(arm, run, stack)
                else:
                    with run.record.following_work():
                        parts = open_arm(arm, run, stack)
                    result = train_and_measure(parts)
            result = result.model_copy(update={"files": checksums(directory)})
            faults.pass_point("result.before")
            write_sealed(directory / RESULT, result.as_data())
            seconds = round(time.monotonic() - started, 3)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            run.record.write_timing({"wall_seconds": seconds, "peak_memory": peak})
        for name in ("checkpoints", "best"):  # a finished arm does not need its optimizer's state
            remove_own(directory, name)
        remove(directory / PRODUCT)  # `result.json` now lists the files that this record lists
    return result


def refuse_own_product(arm: Arm, directory: Path) -> None:
    """Raises `UserError` if the arm needs a file or a model in `directory`, because the earlier run in this directory
    will be deleted."""
    for name in (*input_paths(arm), *evaluator_models(arm), arm.model.name):
        path = stage_path(name, stages_of(directory))
        if path.exists() and path.resolve().is_relative_to(directory.resolve()):
            raise UserError(
                f"{path} is part of the run that --fresh deletes, but the new run needs it. Choose another --output."
            )


def earlier_result(arm: Arm, directory: Path) -> TrainedResult | None:
    """Returns the result of a finished run in the directory, or None if there is no result.

    Also returns None for a stage whose saved output is missing or changed, because other runs need that output. For any
    other run, missing or changed files only cause a warning, because users can delete the weights and keep the results.
    """
    if not (directory / RESULT).exists():
        return None
    result = read_result(directory, result_class(arm))
    if result.diverged is None and arm.measure == "none" and not has_product(directory):
        refuse_in_the_way(directory)
        logger.warning("%s is missing or was changed: the run is repeated", directory / FINAL)
        return None
    altered = altered_files(directory, result)
    if result.diverged is None and arm.method is not None and not (directory / FINAL).is_dir():
        altered = [FINAL, *(name for name in altered if not name.startswith(FINAL))]
    if altered:
        logger.warning(
            "%s: files of this finished run are missing or were changed: %s. The result is kept; --fresh repeats the run",
            directory,
            ", ".join(altered),
        )
    return result


def train_and_measure(parts: OpenArm) -> TrainedResult:
    """Trains and measures an arm. Returns the content of `result.json`. If the run diverges, the result has no
    measurements."""
    arm, run, method = parts.arm, parts.run, parts.arm.method
    check_data(parts)
    notices = list(parts.start.notices)
    make_result = partial(
        result_class(arm),
        name=arm.name,
        seed=arm.seed,
        method="policy" if method is None else method.kind_name,
        product="policy" if method is None else method.product,
        parameters=parts.start.size,
        notices=notices,
        data_notes=[*parts.testbed.notes, *origin_notes(arm, parts.stages)],
    )
    provenance = provenance_of(arm, parts.testbed, parts.stages)
    refuse_shared_data(arm, provenance, parts.stages)
    measures: dict[str, Any] = {}
    if method is None:
        product: Product = (
            parts.start if arm.init is None else load_policy(arm, run, arm.policy, parts.context, parts.testbed)
        )
    else:
        try:
            product = method.train(method_parts(parts))
        except FloatingPointError as error:
            return make_result(diverged=str(error), counts=Counts(**run.meter.state_dict()))
        notices += save_product(run, product, method.product, provenance, arm.model.trust_remote_code)
        if method.product in SCORERS and isinstance(product, LanguageModel):
            with run.record.following_work():
                measures = measure_scorer(run, product, parts.testbed, parts.token_budget)
    result = make_result(
        diverged=None,
        counts=Counts(**run.meter.state_dict()),
        charged=arm.budget.charged if arm.budget else 0.0,
        best=KeptCheckpoint(**run.selection.state_dict()),
        ending=None if arm.plateau is None else PlateauEnding(**run.ending.state_dict()),
        last=last_record(run.directory),
        **measures,
    )
    if isinstance(product, LanguageModel):
        result = result.model_copy(update=measure_product(parts, product))
        if method is not None:
            write_card(arm, result, run.directory / FINAL)
    return result


def measure_product(parts: OpenArm, product: LanguageModel) -> dict[str, Any]:
    """Measures a trained policy and returns the measurements as fields of the result. The arm's evaluators score the
    policy's answers, and these answers are saved. If the arm has no evaluators, the policy is measured by the
    likelihood of held-out answers in the data. Returns {} for a model that is not measured, such as the model of a
    stage."""
    arm, run, held_out = parts.arm, parts.run, parts.held_out
    fields: dict[str, Any] = {}
    is_policy = arm.method is None or arm.method.product == "policy"
    if parts.bench is not None and is_policy and arm.measure != "none":
        fields["evaluation"] = measure_policy(arm, run, parts.bench, product)
    if held_out is not None:
        run.record.say("has no evaluator: the policy is measured by the likelihood of held-out answers")
        with run.record.following_work():
            fields["validation"] = HeldOutMeasures.model_validate(held_out.measure(product, "validation"))
            fields["held_out"] = HeldOutMeasures.model_validate(held_out.measure(product, "test"))
    return fields


def check_data(parts: OpenArm) -> None:
    """Reads all rows of data that the run will use, and logs how many rows the run learns from. Raises `UserError` if
    nothing can be learned from the training rows, or if rows are too long for the model and the arm's `too_long` is
    `stop`."""
    arm, testbed = parts.arm, parts.testbed
    counts = check_training_rows(arm, parts.stages, testbed, testbed.fit_file)
    if counts is not None:
        parts.run.record.say(f"learns from {counts.describe()}")
    for split in testbed.rooms:
        testbed.prompts(split)
    if arm.method is not None and arm.method.product in SCORERS:
        fit_held_out(testbed.inner.preferences, testbed.preferences)
    if parts.held_out is not None:
        fit_held_out(testbed.inner.demonstrations, testbed.demonstrations)
        fit_held_out(testbed.inner.preferences, testbed.preferences)
    for note in testbed.notes[len(testbed.inner.notes) :]:
        parts.run.record.say(note)


def method_parts(parts: OpenArm) -> Parts:
    """Returns the inputs of the arm's method, such as the policy, the data, the sampler and the reward."""
    arm = parts.arm
    return Parts(
        run=parts.run,
        policy=parts.policy_to_train(),
        testbed=parts.testbed,
        preferences=preferences_of(arm, parts.stages, parts.testbed, parts.testbed.fit_file),
        validate=make_validation(parts),
        sampler=parts.sampler,
        reward=parts.reward,
        cost=parts.cost,
        reward_model=parts.critic_start(),
        ranked=rankings_of(arm, parts.stages, parts.testbed, parts.testbed.fit_file),
        rated=rated_of(arm, parts.stages, parts.testbed, parts.testbed.fit_file),
        located=partial(stage_path, stages=parts.stages),
        labels_paid=(arm.preferences or "").startswith(STAGE),
        token_budget=parts.token_budget,
    )


def make_validation(parts: OpenArm) -> Validate | None:
    """Returns the function that evaluates a policy on the validation split during training.

    If the arm has evaluators, they score the policy's answers, and the score chooses the checkpoint. If the arm has no
    evaluators, the policy is measured by the likelihood of held-out answers in the data, and the last checkpoint is
    used. Returns None if there are no validation prompts, or if the run does not measure a policy.
    """
    bench, held_out, method = parts.bench, parts.held_out, parts.arm.method
    if bench is not None and method is not None and method.product == "policy" and bench.prompts("validation", 1):
        return partial(look, bench)
    if held_out is not None and held_out.testbed.prompts("validation"):
        return partial(held_out.read, split="validation")
    return None


def save_product(
    run: Run, product: Product, kind: str, provenance: Sequence[Any], trust_remote_code: bool
) -> list[str]:
    """Saves the output of a run under `final/`, together with the provenance of its training data. A policy is saved
    with its LoRA adapters merged into the weights. A reward model is saved unchanged. Pairs and rankings are saved in
    `KIND.jsonl`. If the saved weights differ from the trained weights, returns a notice for the report."""
    notices: list[str] = []
    with new_directory(run.directory / FINAL) as aside:
        mark = aside / WRITING
        mark.mkdir()
        if isinstance(product, LanguageModel):
            notice = save_verified(product, aside, trust_remote_code=trust_remote_code)
            notices += [notice] if notice else []
        else:
            rows = (from_ranking(row) if isinstance(row, Ranking) else from_preference(row) for row in product)
            (aside / f"{kind}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        for folder in (aside, aside / ADAPTER):
            if folder.is_dir():
                write_json(folder / TRAINED_ON, list(provenance))
        record_product(run.directory, aside)
        mark.rmdir()
        faults.pass_point("final.before-rename")
    for notice in notices:
        logger.warning("%s: %s", run.directory / FINAL, notice)
    return notices


def measure_scorer(run: Run, scorer: LanguageModel, testbed: FittedTestbed, token_budget: int) -> dict[str, Any]:
    """Measures how well a reward model or a cost model orders the pairs of the validation split and of the test split,
    and how well the model is calibrated. Returns two fields. `validation`: the measurements on the validation split,
    with the measurements of `best_look` added. `held_out`: the measurements on the test split."""
    validation = order_pairs(scorer, testbed, "validation", token_budget) or {}
    return {"validation": validation | best_look(run), "held_out": order_pairs(scorer, testbed, "test", token_budget)}


def order_pairs(
    scorer: LanguageModel, testbed: FittedTestbed, split: Split, token_budget: int
) -> dict[str, Any] | None:
    """Measures how well a scorer orders the pairs of a split (see `measure_pairs`). The answers are cut as in training.
    Returns None if the testbed has no pairs in this split."""
    rows = read_rows(testbed.preferences, split)
    if rows is None:
        return None
    return measure_pairs(scorer, collate_pairs(rows, scorer.encode, limit=testbed.fitting.limit), token_budget)


def best_look(run: Run) -> dict[str, float]:
    """Returns the measurements of the evaluation that chose the kept checkpoint. This evaluation used the validation
    split, during training."""
    rows = read_lines(run.directory / METRICS)
    best = next(row for row in rows if row["step"] == run.selection.best_step)
    return {name.removeprefix("validation/"): value for name, value in best.items() if name.startswith("validation/")}


def last_record(directory: Path) -> dict[str, float]:
    """Returns the last record of a run's metrics; {} if there is no record. If the run evaluated the policy on
    the validation split after the last step, the record includes the scores."""
    rows = read_lines(directory / METRICS)
    return rows[-1] if rows else {}
