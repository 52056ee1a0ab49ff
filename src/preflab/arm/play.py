"""Runs a match: reads the answers that two finished arms wrote, compares these answers, and writes `result.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from preflab.arm.data import provenance_of, read_provenance, refuse_trained_on_same
from preflab.arm.match import Match
from preflab.arm.open import pick_device, with_stage_models
from preflab.arm.origin import manifest_of
from preflab.arm.result import MatchResult, PlayedPrompt
from preflab.arm.spec import STAGES, Arm, saved_models, stage_path
from preflab.errors import UserError, refuse_unknown
from preflab.evaluation.pairwise import DATA_CHOSEN, LOSS, TIE, WIN, PairwiseEvaluator, check_outcomes, data_answers
from preflab.evaluation.returned import blaming_outside
from preflab.models.facts import TRAINED_ON
from preflab.spec import Context, parse_spec, require_base
from preflab.testbeds.base import Testbed, require_testbed
from preflab.train.directory import (
    RESULT,
    RUN_FORMAT,
    RUN_MANIFEST,
    claim,
    clear,
    edited_files,
    locked,
    manifest_removed_if_refused,
    read_manifest,
)
from preflab.train.files import naming_failures, read_lines
from preflab.train.finished import AnyResult, check_product, check_written, read_result
from preflab.train.ownership import ANSWERS, FINAL
from preflab.train.sealed import write_sealed
from preflab.types import Completion

Answered = Mapping[str, Sequence[Completion]]
"""Maps the id of each prompt to the answers to this prompt."""


def execute_match(match: Match, directory: Path) -> MatchResult:
    """Runs a match, or only reads its result if the match has already run. Returns the content of `result.json`."""
    torch.set_num_threads(match.threads)
    with locked(directory), naming_failures(directory):
        manifest = {"format": RUN_FORMAT, **manifest_of(match)}
        clear_other_match(directory, manifest)
        claim(directory, manifest)
        if not (directory / RESULT).exists():
            with manifest_removed_if_refused(directory), ExitStack() as stack:
                write_sealed(directory / RESULT, play(match, directory, stack).as_data())
    return read_result(directory, MatchResult)


def clear_other_match(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Removes an earlier match from the directory if the settings of the match or the user's code have changed since
    the match ran. The match then runs again. If the directory contains anything other than a match, nothing is removed,
    and a later check raises `UserError`."""
    known = read_manifest(directory)
    if known is None or known["spec"].get("kind") != manifest["spec"]["kind"]:
        return
    if known["spec"] != manifest["spec"] or edited_files(known, manifest):
        clear(directory)


def play(match: Match, directory: Path, stack: ExitStack) -> MatchResult:
    """Compares the arms' answers and returns the content of `result.json`, with the outcomes for each prompt from the
    first arm's point of view. An arm that diverged loses to the other arm. If both arms diverged, the outcome is a
    tie."""
    seed_directory = directory.parents[2]
    stages = seed_directory / STAGES
    context = Context(seed=match.seed, device=pick_device(match.device))
    testbed = require_testbed(stack.enter_context(match.testbed.open(context)))
    models = saved_models(match.evaluator)
    for path in models:
        check_product(stage_path(path, stages))
    for name in (match.first, match.second):
        if name == DATA_CHOSEN:
            continue
        refuse_trained_on_same(match.evaluator, provenance_of_run(seed_directory / name, testbed, stages), stages)
    spec = with_stage_models(match.evaluator, stages)
    evaluator = require_base(stack.enter_context(spec.open(replace(context, testbed=testbed))), PairwiseEvaluator)
    first = answered = read_answered(seed_directory / match.first)
    second: Answered | None = {}
    if match.second != DATA_CHOSEN:
        second = read_answered(seed_directory / match.second)
    elif answered is not None:
        first, second = beside_chosen(answered, testbed)
    if first is None or second is None:
        outcome = TIE if first is second else LOSS if first is None else WIN
        problems = {
            name: PlayedPrompt(outcomes=[outcome]) for name in evaluator.select_prompts(list(first or second or {}))
        }
        details = {}
    else:
        outcomes = compare_answers(evaluator, testbed, first, second)
        problems = {
            name: PlayedPrompt(outcomes=row, length_difference=mean_length_difference(first[name], second[name]))
            for name, row in outcomes.items()
        }
        details = evaluator.details()
    return MatchResult(
        **match.model_dump(include={"name", "seed", "first", "second"}),
        diverged=None,
        diverged_arms=[name for name, part in ((match.first, first), (match.second, second)) if part is None],
        problems=problems,
        left_out=len(answered or ()) - len(first or ()),
        details=details,
    )


def beside_chosen(answers: Answered, testbed: Testbed) -> tuple[Answered, Answered]:
    """Returns two sets of answers: the arm's answers to the prompts that have a chosen answer in the test split, and
    the chosen answers. The chosen answer to a prompt is repeated until there are as many chosen answers as answers of
    the arm. Raises `UserError` if no prompt that the arm answered has a chosen answer."""
    chosen = data_answers(testbed, "chosen")
    known = {name: row for name, row in answers.items() if name in chosen}
    if not known:
        raise UserError(
            f"The test split of {testbed.name} has no pair with a prompt that the arm answered, so there is no chosen answer. "
            f"Remove {DATA_CHOSEN!r} from `pairwise`, or add pairs to the test split."
        )
    return known, {name: [chosen[name]] * len(row) for name, row in known.items()}


def provenance_of_run(directory: Path, testbed: Testbed, stages: Path) -> list[dict[str, Any]]:
    """Returns provenance records of the data that a finished arm was trained on."""
    manifest = read_manifest(directory)
    if manifest is None:
        raise UserError(f"{directory} has no {RUN_MANIFEST}. Remove this directory and run the study again.")
    arm = parse_spec(Arm, manifest["spec"], where=str(directory / RUN_MANIFEST))
    own = directory / FINAL / TRAINED_ON
    return [*provenance_of(arm, testbed, stages), *(read_provenance(own) if own.exists() else ())]


def read_answered(directory: Path) -> Answered | None:
    """Reads the answers of a finished arm, by prompt; returns None if the arm diverged. Raises `UserError` if the arm's
    answers were not saved."""
    result = read_result(directory, AnyResult)
    if result.diverged is not None:
        return None
    if not (directory / ANSWERS).exists():
        raise UserError(
            f"{directory} does not contain the arm's answers, because an older version of preflab measured this arm. "
            "Remove the directory and run the study again."
        )
    check_written(directory, result, ANSWERS)
    answers: dict[str, list[Completion]] = {}
    for row in read_lines(directory / ANSWERS):
        answers.setdefault(row["problem"], []).append(Completion(row["text"], row["truncated"]))
    return answers


def compare_answers(
    evaluator: PairwiseEvaluator, testbed: Testbed, first: Answered, second: Answered
) -> dict[str, list[float]]:
    """Compares the answers of two arms to each prompt. Answer i of one arm is compared with answer i of the other arm.
    Returns the outcomes of each prompt. Raises `UserError` if the arms did not answer the same prompts, or if the
    evaluator returns an invalid outcome."""
    prompts = {prompt.id: prompt for prompt in testbed.prompts("test")}
    if set(first) != set(second) or not set(first) <= set(prompts):
        raise UserError("The two arms did not answer the same prompts. Measure both arms on the same test split.")
    source = f"{type(evaluator).__name__}.compare"
    with blaming_outside(evaluator, source):
        names = list(evaluator.select_prompts([name for name in prompts if name in first]))
    refuse_unknown(names, first, f"{type(evaluator).__name__}.select_prompts chose the unknown prompt")
    pairs = [(name, *both) for name in names for both in zip(first[name], second[name], strict=False)]
    questions = [prompts[name] for name, _, _ in pairs]
    with blaming_outside(evaluator, source):
        compared = evaluator.compare("test", questions, [one for _, one, _ in pairs], [other for _, _, other in pairs])
        outcomes = check_outcomes(compared, len(pairs), source=source)
    rows: dict[str, list[float]] = {name: [] for name in names}
    for (name, _, _), outcome in zip(pairs, outcomes, strict=True):
        rows[name].append(outcome)
    return rows


def mean_length_difference(first: Sequence[Completion], second: Sequence[Completion]) -> float:
    """Returns the number of characters in the first arm's answer minus the number of characters in the second arm's
    answer, as the mean over the compared pairs of answers."""
    pairs = list(zip(first, second, strict=False))
    return sum(len(one.text) - len(other.text) for one, other in pairs) / len(pairs)
