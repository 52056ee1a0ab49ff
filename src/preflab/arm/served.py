"""Runs an arm whose policy a server runs: asks the server for its answers, and measures them as those of other arms."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from preflab.arm.measuring import measure_policy
from preflab.arm.open import open_evaluators, pick_device, stages_of
from preflab.arm.outside_data import origin_notes
from preflab.arm.result import Counts, KeptCheckpoint, TrainedResult, result_class
from preflab.arm.spec import Arm, describe_server, evaluator_models, server_of, stage_path
from preflab.errors import UserError
from preflab.evaluation.base import EvaluatorSpec
from preflab.evaluation.bench import Bench, check_splits
from preflab.evaluation.preference.endpoint import Endpoint
from preflab.evaluation.preference.replies import ModelReply
from preflab.evaluation.programs import check_public
from preflab.evaluation.served import (
    NO_OWN_ITEMS,
    SERVED,
    ServedPolicy,
    count_requests,
)
from preflab.meter import Meter
from preflab.spec import Context
from preflab.testbeds.base import Testbed, require_testbed
from preflab.text import counted
from preflab.train.finished import check_product
from preflab.train.loop import Run
from preflab.train.ownership import REPLIES


def measure_served(arm: Arm, run: Run, stack: ExitStack) -> TrainedResult:
    """Measures a served policy and returns the content of `result.json`. Nothing is trained, and nothing is charged to
    the budget. The replies are kept in the run's folder `replies` as they arrive, so that a run that is resumed asks
    only for the missing ones.

    Raises `UserError` if the server cannot be reached, refuses the key or a request, or does not have the model. Also
    raises `UserError` if the run would need more requests than the cap.
    """
    for path in evaluator_models(arm):
        check_product(stage_path(path, stages_of(run.directory)))
    context = Context(seed=arm.seed, device=pick_device(arm.device), meter=Meter(), date=run.date)
    testbed = require_testbed(stack.enter_context(arm.testbed.open(context)))
    policy = open_served(arm, run.directory / REPLIES)
    check_served(arm, policy, testbed)
    check_public(arm.evaluation, testbed)
    check_splits(testbed, arm.evaluation, arm.measure)
    context = replace(context, testbed=testbed)
    bench = Bench(
        spec=arm.evaluation,
        testbed=testbed,
        evaluators=open_evaluators(arm, stages_of(run.directory), context, stack),
        seed_for=run.seeds.derive,
        say=run.record.say,
    )
    known = len(policy.endpoint.cache.replies)
    run.record.say(
        f"asks {describe_server(arm)}" + (f"; {counted(known, 'answer')} are kept from before" if known else "")
    )
    evaluation = measure_policy(arm, run, bench, policy)
    return result_class(arm)(
        diverged=None,
        name=arm.name,
        seed=arm.seed,
        method="policy",
        product="policy",
        parameters=None,
        notices=[*describe_limits(arm, policy.endpoint.cache.replies)],
        data_notes=[*testbed.notes, *origin_notes(arm, stages_of(run.directory))],
        counts=Counts(**run.meter.state_dict()),
        best=KeptCheckpoint(**run.selection.state_dict()),
        evaluation=evaluation,
    )


def open_served(arm: Arm, replies: Path | None = None) -> ServedPolicy:
    """Returns the served policy of an arm. `replies`: the directory in which replies are kept, unless the settings
    name another; None for a policy that is not asked for answers. Raises `UserError` if the key is missing or the
    directory cannot be read."""
    settings, model = server_of(arm), (arm.policy or "").removeprefix(SERVED)
    settings = settings.model_copy(update={"cache": settings.cache or str(replies or "")})
    return ServedPolicy(Endpoint(model, settings, max_tokens=arm.evaluation.max_new_tokens), settings.api)


def check_served(arm: Arm, policy: ServedPolicy, testbed: Testbed) -> None:
    """Raises `UserError` if a served policy cannot be measured: if there is no evaluator of answers, if the number of
    requests exceeds the cap, if the server cannot be reached or refuses the key, or if it does not have the model."""
    evaluators: Mapping[str, EvaluatorSpec] = arm.evaluators
    if not evaluators:
        raise UserError(
            "A served policy is measured by its answers, which needs an evaluator. Name one with `evaluator`."
        )
    if any(each.of_policy for each in evaluators.values()):
        raise UserError(NO_OWN_ITEMS)
    test, validation = len(testbed.prompts("test")), len(testbed.prompts("validation"))
    requests = count_requests(arm.evaluation, test=test, validation=validation, measure=arm.measure)
    cap = policy.endpoint.settings.max_calls
    if requests > cap:
        raise UserError(
            f"{policy.endpoint.label} would get up to {requests:,} requests, but the cap is {cap:,}. Raise --max-calls "
            "(`max_calls`), or lower `samples` or `prompts` under `evaluation`. Nothing was asked."
        )
    policy.endpoint.check_model()


def describe_limits(arm: Arm, replies: Mapping[str, ModelReply]) -> list[str]:
    """Returns the sentences that a report on a served policy must show. `replies`: the replies of the server."""
    notices = [
        f"The policy is served: {describe_server(arm)} answered. Its log-probabilities are not available, so that KL and "
        "entropy are not measured. Its size and its compute are not known, and it is charged nothing."
    ]
    empty = sum(not reply.text.strip() for reply in replies.values())
    if empty:
        notices.append(f"{empty} of {len(replies)} answers of the server are empty. They are graded as they are.")
    if any(not reply.tokens_in for reply in replies.values()):
        notices.append("The server does not report numbers of tokens, so that the length of the answers is not known.")
    return notices
