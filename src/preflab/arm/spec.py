"""Defines `Arm`, the content of a run file. A run file contains all settings of one training run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from preflab.errors import UserError, refuse_unknown
from preflab.evaluation.base import EvaluatorSpec
from preflab.evaluation.served import SERVED, ServedSettings
from preflab.evaluation.settings import Evaluation
from preflab.evaluation.several import Evaluators, measures_by_evaluator, named_evaluators, refuse_as_choice
from preflab.fields import Name
from preflab.methods import METHODS
from preflab.methods.spec import Method
from preflab.models.spec import ModelSpec
from preflab.paths import user_path
from preflab.rewards import REWARDS, OptionalCostSpec
from preflab.rewards.base import RewardSpec
from preflab.sampling import SAMPLERS
from preflab.sampling.inference import Inference
from preflab.sampling.spec import SamplerSpec
from preflab.spec import HoldsModels, Spec, optional_variant, variant
from preflab.testbeds import TESTBEDS
from preflab.testbeds.base import TestbedSpec
from preflab.train.ownership import FINAL
from preflab.train.settings import COOLDOWN, Budget, Plateau

STAGE = "stage:"
"""The prefix of a path such as `stage:sft`, which means the saved output of the stage `sft`."""
STAGES = "stages"
"""The name of the folder for the stages of a seed."""


class Job(Spec):
    """The settings of one stage or arm of a study: its method, starting model, data and reward. In every path,
    `stage:NAME` means the output of the study's stage NAME under the same seed.

    `init`: the policy to start from, by default the study's base model. This policy is also the reference of the KL.
    `cost`: scores the harm of an answer, for a method that limits harm. If `cost` is `stage:NAME` or a path, a saved
    cost model gives the scores. `preferences`: a JSON-lines file with pairs, rankings or labelled answers; by default
    the testbed's data. `policy`: a policy that is measured but not trained. Both `init` and `policy` can be a directory
    or a name on the Hugging Face hub. `testbed`: replaces the study's testbed, for example in a stage that trains an
    evaluator. If `policy` is `openai:MODEL`, a server that speaks OpenAI's protocol answers for the model MODEL, and
    `endpoint` has the settings of this server. `model`: replaces the study's base model, for example in a stage that
    samples answers from another model. `plateau`: ends the training when the validation score has stopped improving.
    The number of steps or epochs in the method's settings, and the budget, are then upper limits.
    """

    method: Annotated[Method | None, *optional_variant(METHODS)] = None
    policy: str | None = None
    init: str | None = None
    preferences: str | None = None
    reward: Annotated[RewardSpec | None, *optional_variant(REWARDS)] = None
    cost: OptionalCostSpec = None
    testbed: Annotated[TestbedSpec | None, *optional_variant(TESTBEDS)] = None
    model: ModelSpec | None = None
    plateau: Plateau | None = None
    endpoint: ServedSettings | None = None

    @model_validator(mode="after")
    def _served_policy_only_answers(self) -> Self:
        if not is_served(self):
            if self.endpoint is not None:
                raise UserError(
                    "`endpoint` is the server of a policy `openai:MODEL`. Name this policy, or remove `endpoint`."
                )
            return self
        if self.policy == SERVED:
            raise UserError(f"`policy: {SERVED}` lacks the name of a model. Write {SERVED}MODEL.")
        others = {"method": self.method, "init": self.init, "preferences": self.preferences, "reward": self.reward}
        others |= {"cost": self.cost, "plateau": self.plateau}
        for name, value in others.items():
            if value is not None:
                raise UserError(
                    f"`policy: {self.policy}` is served, so it only answers, and `{name}` has no effect. Remove `{name}`."
                )
        return self

    def check_names(self, where: str) -> None:
        """Raises `UserError` if the method, the reward or the cost names a function that cannot be imported. The message begins
        with `where`."""
        for part in filter(None, (self.method, self.reward, self.cost)):
            try:
                part.check_names()
            except UserError as error:
                raise UserError(f"{where}: {error}") from error

    @property
    def inference(self) -> Inference:
        """The settings with which the trained policy gives an answer: one sample, or the best of several samples if the
        method selects among samples."""
        return Inference() if self.method is None else self.method.inference()


TooLong = Literal["stop", "drop", "cut"]
"""What happens to rows that do not fit the model's context: the run stops, or the rows are dropped or cut."""


class RunSettings(Spec):
    """The settings that all runs of a study share: how answers are sampled and measured, and how the machine is used.

    `looks`: the number of evaluations on the validation split during a training run. `token_budget`: the largest number
    of tokens in a micro-batch. The default depends on the model's width and the device. `checkpoint_activations`:
    whether the backward pass recomputes the activations of each layer instead of storing them. This takes less memory
    and more time. `too_long`: what the run does if rows do not fit the model's context. With `stop`, the run stops
    before its first step. With `drop`, the run drops these rows. With `cut`, the run removes the start of the prompt
    and the end of the answer. With `drop`, the run also drops rows that the model's chat template rejects. With `stop`
    or `cut`, such rows stop the run.
    """

    sampler: Annotated[SamplerSpec, *variant(SAMPLERS)] = Field(default="native")  # pyright: ignore[reportAssignmentType] # the registry reads the name
    evaluation: Evaluation = Evaluation()
    looks: int = Field(default=4, ge=1)
    threads: int = Field(default=1, ge=1)
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    token_budget: Annotated[int, Field(ge=1)] | None = None
    checkpoint_activations: bool = False
    too_long: TooLong = "stop"


class Arm(Job, RunSettings):
    """All settings of one run: the job, the settings that all runs share, and the run's evaluators, budget and seed.
    `measure`: the split on which the policy is measured. An arm is measured on the test split, a tuning trial on the
    validation split, and a stage is not measured. `main_evaluator`: the evaluator whose score chooses the temperature
    and the checkpoint; '' means the first evaluator."""

    schema_version: Literal[1] = 1
    name: Name
    testbed: Annotated[TestbedSpec, *variant(TESTBEDS)]  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride] # never absent here
    model: ModelSpec = ModelSpec()  # pyright: ignore[reportIncompatibleVariableOverride] # never absent here
    evaluators: Evaluators = {}
    main_evaluator: str = ""
    measure: Literal["test", "validation", "none"] = "test"
    budget: Budget | None = None
    seed: int = 0

    _one_or_several = model_validator(mode="before")(named_evaluators)

    @model_validator(mode="after")
    def _model_is_named(self) -> Self:
        if "name" not in self.model.model_fields_set and needs_base_model(self):
            raise UserError(
                f"`{self.name}` has no model to start from. Name a base model (`model`, `--model DIR|NAME`) or a trained "
                "policy (`init`, `--init DIR`). Only an embedded testbed has a default model, `tiny`."
            )
        return self

    @model_validator(mode="after")
    def _main_evaluator_can_choose(self) -> Self:
        if self.main_evaluator:
            refuse_unknown([self.main_evaluator], self.evaluators, "`main_evaluator` names")
        if self.evaluators:
            main = next(iter(self.evaluators_in_turn))
            refuse_as_choice(measures_by_evaluator(self.evaluators, self.evaluation)[main][0], main)
        return self

    @model_validator(mode="after")
    def _plateau_can_be_seen(self) -> Self:
        refuse_plateau(self.name, self, self.looks)
        return self

    @property
    def evaluators_in_turn(self) -> dict[str, EvaluatorSpec]:
        """The evaluators by name, with the main evaluator first."""
        names = sorted(self.evaluators, key=lambda name: name != self.main_evaluator)
        return {name: self.evaluators[name] for name in names}


def refuse_plateau(name: str, job: Job, looks: int) -> None:
    """Raises `UserError` if a stage or arm has a `plateau` but trains nothing, or is evaluated too rarely. With
    patience n, there must be n + 1 evaluations in the first 85% of the run, because the last 15% is the cooldown.
    `name`: the name of the stage or arm. `looks`: the number of evaluations during training."""
    if job.plateau is None:
        return
    if job.method is None or job.method.product in ("preferences", "rankings") or job.method.inference().n > 1:
        raise UserError(f"`{name}` has a `plateau` but trains nothing. Leave `plateau` out.")
    needed = math.ceil((job.plateau.patience + 1) / (1.0 - COOLDOWN))
    if looks < needed:
        raise UserError(
            f"`{name}` has a `plateau` with patience {job.plateau.patience}, which needs {needed} or more evaluations "
            f"during training. Set `looks` to {needed} or more (it is {looks})."
        )


def needs_base_model(arm: Arm) -> bool:
    """Returns True if the user must name the base model of an arm, because the arm trains a base model on the user's
    data. An embedded testbed (a testbed without the setting `data`) has a default base model."""
    starts = arm.method is not None and arm.method.starts_from_policy and arm.init is None
    return starts and "data" in type(arm.testbed).model_fields


def is_trained_elsewhere(job: Job) -> bool:
    """Returns True if a job measures a policy that no stage of the study has trained."""
    return job.policy is not None and not job.policy.startswith(STAGE)


def is_served(job: Job) -> bool:
    """Returns True if a job measures a policy that a server runs."""
    return job.policy is not None and job.policy.startswith(SERVED)


def server_of(job: Job) -> ServedSettings:
    """Returns the settings of the server of a served policy."""
    return ServedSettings() if job.endpoint is None else job.endpoint


def describe_server(job: Job) -> str:
    """Returns the name of a served policy and the host of its server, such as `openai:llama at localhost:8000`."""
    return f"{job.policy} at {server_of(job).host}"


def input_paths(job: Job) -> list[str]:
    """Returns the paths of all inputs of a job: the starting policy, the preference file, the policy to measure, and
    the saved reward models and cost models. An input without a path is left out, such as a served policy."""
    models = (path for part in (job.reward, job.cost, job.method) for path in saved_models(part))
    paths = (job.init, job.preferences, None if is_served(job) else job.policy, *models)
    return [path for path in paths if path is not None]


def stages_needed(job: Job) -> list[str]:
    """Returns the names of the stages whose output a job uses directly."""
    return name_stages(input_paths(job))


def name_stages(paths: Iterable[str]) -> list[str]:
    """Returns NAME for each path of the form `stage:NAME`. Leaves out all other paths."""
    return [path.removeprefix(STAGE) for path in paths if path.startswith(STAGE)]


def saved_models(spec: HoldsModels | None) -> tuple[str, ...]:
    """Returns the paths of the saved reward models that a reward, an evaluator or a method uses."""
    return () if spec is None else spec.saved_models()


def evaluator_models(arm: Arm) -> list[str]:
    """Returns the paths of the saved reward models that an arm's evaluators use."""
    return [path for evaluator in arm.evaluators.values() for path in saved_models(evaluator)]


def stage_path(path: str, stages: Path) -> Path:
    """Returns the directory with the output of the stage NAME if `path` is `stage:NAME`. Returns any other path as it
    is, with `~` expanded."""
    return stages / path.removeprefix(STAGE) / FINAL if path.startswith(STAGE) else user_path(path)
