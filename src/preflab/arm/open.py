"""Opens the testbed, the models, the rewards, the sampler and the evaluators that an arm's spec describes."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from preflab.arm.fitting import FittedTestbed, Fitting
from preflab.arm.result import ScorerResult
from preflab.arm.spec import STAGE, STAGES, Arm, evaluator_models, input_paths, saved_models, stage_path
from preflab.errors import UserError
from preflab.evaluation.base import Evaluator
from preflab.evaluation.bench import Bench, OpenEvaluator, check_splits
from preflab.evaluation.held_out import HeldOut
from preflab.evaluation.programs import check_public
from preflab.evaluation.several import measure_prefixes
from preflab.meter import Meter
from preflab.models import forward, lora
from preflab.models.heads import load_reward_model
from preflab.models.lm import LanguageModel
from preflab.models.load import load_directory, load_model
from preflab.models.locate import locate_policy, locate_scorer
from preflab.models.recompute import recompute_layers
from preflab.models.token_budget import choose_token_budget
from preflab.rewards.base import Reward, RewardSpec
from preflab.sampling.base import Sampler
from preflab.spec import Context, HoldsModels, require_base
from preflab.testbeds.base import Testbed, require_testbed
from preflab.train.directory import RESULT
from preflab.train.finished import check_product, read_result
from preflab.train.loop import Run
from preflab.types import Split

LONGEST_ANSWER = 1024
"""The number of tokens after which a held-out answer is cut, if the method sets no other limit."""
AnySpec = TypeVar("AnySpec", bound=HoldsModels)


@dataclass(frozen=True)
class OpenArm:
    """An arm with the opened testbed, models, sampler, rewards and evaluators. `start`: the policy that `init` names.
    Without `init`, `start` is the arm's `policy` if the arm names a policy to measure, and otherwise the base model.
    `bench`: measures a policy with evaluators. `held_out`: measures a policy without evaluators, by the likelihood of
    held-out answers in the data. `token_budget`: the largest number of tokens in a micro-batch."""

    arm: Arm
    run: Run
    context: Context
    testbed: FittedTestbed
    start: LanguageModel
    sampler: Sampler
    reward: Reward | None
    cost: Reward | None
    bench: Bench | None
    held_out: HeldOut | None
    token_budget: int

    @property
    def stages(self) -> Path:
        return stages_of(self.run.directory)

    def policy_to_train(self) -> LanguageModel:
        """Returns a copy of the starting policy, with new adapters if the model's spec has `lora`."""
        model = copy.deepcopy(self.start.model)
        if self.arm.model.lora is not None:
            model = lora.attach(model, self.arm.model.lora, seed=self.run.seeds.derive("lora"))
        return self.start.with_model(model)

    def critic_start(self) -> LanguageModel | None:
        """Loads the reward model whose weights the method's critic starts from. Returns None if the critic does not
        start from a reward model, or if the arm's reward does not use exactly one saved model."""
        if self.arm.method is None or not self.arm.method.critic_from_reward:
            return None
        paths = [str(stage_path(path, self.stages)) for path in saved_models(self.arm.reward)]
        if len(paths) != 1:
            return None
        return prepare_model(load_reward_model(locate_scorer(paths[0]), date=self.context.date), self.arm, self.context)


def open_arm(arm: Arm, run: Run, stack: ExitStack) -> OpenArm:
    """Opens the testbed, the models, the rewards, the sampler and the evaluators of an arm. Closing `stack` closes all
    of them. Raises `UserError` if one of them cannot be opened. Also raises `UserError` if the arm uses the output of
    another run and this output was changed."""
    for path in (*input_paths(arm), *evaluator_models(arm), arm.model.name):
        check_product(stage_path(path, stages_of(run.directory)))
    context = Context(seed=arm.seed, device=pick_device(arm.device), meter=run.meter, date=run.date)
    testbed = require_testbed(stack.enter_context(arm.testbed.open(context)))
    context = replace(context, testbed=testbed)
    start = load_policy(arm, run, arm.init or arm.policy, context, testbed)
    token_budget = arm.token_budget or choose_token_budget(start)
    fitted = fit_testbed(arm, testbed, start)
    context = replace(context, testbed=fitted)
    reward = None if arm.reward is None else open_reward(arm.reward, run, context, stack)
    cost = None if arm.cost is None else open_reward(arm.cost, run, context, stack)
    uncharged = replace(context, meter=Meter())  # the cost of measuring is not charged to the arm
    bench = open_bench(arm, run, uncharged, start, token_budget, stack) if arm.evaluators else None
    held_out = (
        open_held_out(arm, run, uncharged, start, token_budget, stack) if is_measured_without_evaluator(arm) else None
    )
    sampler = require_base(stack.enter_context(arm.sampler.open(context)), Sampler)
    return OpenArm(arm, run, context, fitted, start, sampler, reward, cost, bench, held_out, token_budget)


def is_measured_without_evaluator(arm: Arm) -> bool:
    """Returns True if the arm's policy is measured without an evaluator, by the likelihood of held-out answers only."""
    makes_policy = arm.method is None or arm.method.product == "policy"
    return makes_policy and arm.measure != "none" and not arm.evaluators


def open_held_out(
    arm: Arm, run: Run, context: Context, start: LanguageModel, token_budget: int, stack: ExitStack
) -> HeldOut:
    """Returns a `HeldOut`, which measures a policy by the likelihood of held-out answers, without an evaluator."""
    assert context.testbed is not None
    return HeldOut(
        spec=arm.evaluation,
        testbed=context.testbed,
        sampler=require_base(stack.enter_context(arm.sampler.open(context)), Sampler),
        seed_for=run.seeds.derive,
        start=start if arm.method is not None or arm.init is not None else None,
        limit=answer_limit(arm),
        token_budget=token_budget,
    )


def answer_limit(arm: Arm) -> int:
    """Returns the number of tokens after which an answer of the data is cut."""
    return LONGEST_ANSWER if arm.method is None else arm.method.answer_tokens or LONGEST_ANSWER


def fit_testbed(arm: Arm, testbed: Testbed, start: LanguageModel) -> FittedTestbed:
    """Returns a testbed whose rows fit the model `start`. The arm's setting `too_long` decides what happens to longer
    rows."""
    rooms: dict[Split, int] = (
        {"train": arm.method.drawn_tokens} if arm.method is not None and arm.method.scores_samples else {}
    )
    if arm.measure != "none" or arm.evaluators:  # in training, a stage with evaluators answers validation prompts
        rooms["validation"] = arm.evaluation.max_new_tokens
    if arm.measure != "none":
        rooms["test"] = arm.evaluation.max_new_tokens
    fitting = Fitting(start, arm.too_long, answer_limit(arm))
    return FittedTestbed(testbed, fitting, rooms, arm.testbed.locate, arm.evaluation.pairs)


def open_bench(
    arm: Arm, run: Run, context: Context, start: LanguageModel, token_budget: int, stack: ExitStack
) -> Bench:
    """Returns a `Bench`, which measures a policy with the arm's evaluators. If the arm selects the best of n answers by
    its reward, opens the reward a second time, so that the cost of this selection is not charged to the arm."""
    assert context.testbed is not None
    check_public(arm.evaluation, context.testbed)
    selects = arm.inference.selector == "reward" and arm.inference.n > 1
    bench = Bench(
        spec=arm.evaluation,
        testbed=context.testbed,
        evaluators=open_evaluators(arm, stages_of(run.directory), context, stack),
        sampler=require_base(stack.enter_context(arm.sampler.open(context)), Sampler),
        seed_for=run.seeds.derive,
        start=start if arm.init is not None else None,
        reward=open_reward(arm.reward, run, context, stack) if selects and arm.reward is not None else None,
        token_budget=token_budget,
        say=run.record.say,
    )
    check_splits(bench.testbed, bench.spec, arm.measure)
    return bench


def open_evaluators(arm: Arm, stages: Path, context: Context, stack: ExitStack) -> list[OpenEvaluator]:
    """Opens the arm's evaluators and returns them, with the main evaluator first."""
    prefixes = measure_prefixes(arm.evaluators)
    evaluators: list[OpenEvaluator] = []
    for name, spec in arm.evaluators_in_turn.items():
        opened = require_base(stack.enter_context(with_stage_models(spec, stages).open(context)), Evaluator)
        evaluators.append(OpenEvaluator(opened, spec.measures(arm.evaluation), prefixes[name]))
    return evaluators


def open_reward(spec: RewardSpec, run: Run, context: Context, stack: ExitStack) -> Reward:
    spec = with_stage_models(spec, stages_of(run.directory))
    return require_base(stack.enter_context(spec.open(context)), Reward)


def pick_device(name: str) -> str:
    """Returns the device to use. `auto` selects the GPU if the machine has a GPU, and the CPU if it has none. Raises
    `UserError` if the device cannot be used on this machine."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if gpus else "cpu"
    kind, _, number = name.partition(":")
    refusal = f"The device {name!r} cannot be used here"
    if kind not in ("cpu", "cuda") or (number and not (number.isascii() and number.isdecimal())):
        raise UserError(
            f"{refusal}: preflab does not know this device. Name auto, cpu, cuda, or one of several GPUs, such as cuda:1."
        )
    if kind == "cuda" and not gpus:
        reason = "torch was installed without CUDA" if torch.version.cuda is None else "torch finds no GPU"
        raise UserError(f"{refusal}: {reason}. Name auto or cpu.")
    if int(number or 0) >= (gpus if kind == "cuda" else 1):
        raise UserError(f"{refusal}: there is no device number {number}; the first is 0. Name auto, cpu or cuda.")
    return name


def stages_of(directory: Path) -> Path:
    """Returns the directory that contains the stages of a seed. `directory`: the directory of a run of this seed. For
    an arm, this is the directory `stages/` beside the arm's directory. For a stage, it is the parent of the stage's
    directory."""
    return directory.parent if directory.parent.name == STAGES else directory.parent / STAGES


def with_stage_models(spec: AnySpec, stages: Path) -> AnySpec:
    """Returns a copy of the spec. For each reward model with the path `stage:NAME`, the copy contains the directory of
    the model instead of this path. The copy also contains the mean and the standard deviation of the model's scores on
    held-out pairs. Reward models with other paths stay unchanged."""

    def settings(path: str) -> dict[str, Any]:
        if not path.startswith(STAGE):
            return {}
        stage = stages / path.removeprefix(STAGE)
        validation = read_result(stage, ScorerResult).validation
        if validation is None or validation.score_mean is None or validation.score_std is None:
            raise UserError(
                f"{stage / RESULT} lacks the mean and the standard deviation of the scores on held-out pairs. Remove {stage} "
                "and run the study again."
            )
        return {"path": str(stage_path(path, stages)), "mean": validation.score_mean, "std": validation.score_std}

    return spec.with_saved_models(settings)


def load_policy(arm: Arm, run: Run, path: str | None, context: Context, testbed: Testbed) -> LanguageModel:
    """Loads the policy in `path`, which is `stage:NAME`, a directory or a name on the Hugging Face hub. Loads the base
    model if `path` is None."""
    if path is not None:
        place = stage_path(path, stages_of(run.directory)) if path.startswith(STAGE) else locate_policy(path)
        return prepare_model(load_directory(place, date=context.date), arm, context)
    shape = arm.model.tiny.model_copy(update={"words": testbed.words()})
    plain = arm.model.model_copy(update={"lora": None, "tiny": shape})
    return prepare_model(load_model(plain, seed=run.seeds.derive("model"), date=context.date), arm, context)


def prepare_model(lm: LanguageModel, arm: Arm, context: Context) -> LanguageModel:
    """Moves the model to the arm's device, sets the arm's precision, and returns the model."""
    lm.model.to(context.device)
    if arm.precision == "bf16":
        forward.use_bf16(lm.model)
    if arm.checkpoint_activations:
        recompute_layers(forward.backbone(lm.model))
    return lm
