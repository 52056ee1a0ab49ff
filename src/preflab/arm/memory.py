"""Estimates the peak memory of a run from the sizes of its models. A run that needs more memory than its device has is
refused before any model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import psutil
import torch

from preflab.arm.open import pick_device
from preflab.arm.spec import STAGE, Arm, is_served, saved_models
from preflab.errors import UserError
from preflab.methods.cost import DataSize
from preflab.methods.spec import SCORERS
from preflab.models.footprint import FP32, GIB, Footprint, count_saved_parameters, measure_footprint
from preflab.models.smollm2 import fetch
from preflab.models.spec import LoRA, ModelSpec
from preflab.paths import user_path
from preflab.sampling.spec import SamplingLoad

PROMPT_TOKENS = 128
"""The assumed length of a prompt in the sampler's cache."""
LEARNER = 3
"""The number of values that training keeps for each trainable weight: the gradient and both moments of Adam."""
PROCESS = 0.6 * GIB
"""The bytes of main memory that a process takes without any model, for Python, torch, transformers and the data. For a
run on a GPU, these bytes are not counted."""
SMALL = 20
"""A limit on the ratio of a device's memory to the size of a model's fp32 weights. Above this limit, any run with the
model fits the device."""
OVERESTIMATE = 1.2
"""A run is refused only if the estimate exceeds this factor times the device's memory. In 19 measured runs, the
estimate was at most 1.15 times the peak."""
SMALLEST_BUDGET = 1024
LARGE = DataSize(prompts=10**6, demonstrations=10**6, pairs=10**6, rated=10**6)
"""Sizes of data that are large enough to fill every batch."""


@dataclass(frozen=True)
class Memory:
    """The peak memory of a run in bytes, by its parts. `models`: the weights of all models. `learning`: gradients, the
    optimizer's moments and the weights of the reference model. `activations`: the activations that the backward pass of
    one micro-batch needs. `sampling`: the sampler's cache and the logits of one sampling step. `process`: Python, the
    libraries and the data. `is_whole`: False if a part is not known, such as the size of a reward model on the hub. The
    real peak is then higher than the estimate."""

    models: float
    learning: float
    activations: float
    sampling: float
    process: float
    is_whole: bool = True

    @property
    def peak(self) -> float:
        """The sum of all parts in bytes. Activations and the sampler's logits are not in use at the same time. The sum
        contains both, because freed memory does not return to the system at once. On a CPU, the sampler also keeps its
        cache between two calls."""
        return self.models + self.learning + self.activations + self.sampling + self.process

    @property
    def gib(self) -> float:
        """The peak in GiB."""
        return self.peak / GIB


class MemoryEstimator:
    """Estimates the peak memory of the runs of a study. A model that several runs share is measured once. `stage_models`:
    maps each stage of the study to its model. `device`: the kind of device on which the runs will run, "cpu" or "cuda";
    None for the devices of this machine."""

    def __init__(self, stage_models: Mapping[str, ModelSpec], *, device: str | None = None) -> None:
        self.stage_models = stage_models
        self.device = device
        self._known: dict[tuple[ModelSpec, int | None, str, bool, bool], Footprint] = {}

    def estimate(self, arm: Arm) -> Memory:
        """Estimates the peak memory of a run.

        The weights are in fp32. A run keeps its starting policy and the copy that it trains. A method that trains a
        scorer keeps one more copy. Each critic is one more copy too. The weights of the models that the rewards and the
        evaluators use are added. Training keeps 3 values for each trainable weight (the gradient and both moments), and
        one more if the method keeps a reference model. Raises `UserError` if the configuration of the model cannot be
        read.
        """
        device = self.device or pick_device(arm.device).partition(":")[0]
        base = self._measure(starting_model(arm), arm, device)
        copies, trained, references = 1 + (arm.policy is not None and arm.init is not None), 0, 0
        if arm.method is not None:
            copies += 1 + arm.method.critics + (arm.method.product in SCORERS)
            trained = (arm.method.cost(LARGE).trained > 0) + arm.method.critics
            references = int(arm.method.keeps_reference)
        beside = [self._count_parameters(path, arm, device) for path in models_beside(arm)]
        return Memory(
            models=FP32 * (copies * base.parameters + sum(filter(None, beside))),
            learning=FP32 * base.trainable * (LEARNER * trained + references),
            activations=(base.activations or 0) if trained else 0,
            sampling=arm.sampler.memory(sampling_load(arm, base, device)),
            process=PROCESS if device == "cpu" else 0.0,
            is_whole=None not in beside and base.activations is not None,
        )

    def try_estimate(self, arm: Arm) -> Memory | None:
        """Estimates the peak memory of a run. Returns None for a run whose policy is served, because the model is not on
        this machine. Also returns None if the configuration of the model cannot be read. In that case, the run reports
        the error when it opens the model."""
        try:
            return None if is_served(arm) else self.estimate(arm)
        except UserError:
            return None

    def refuse_too_large(self, arm: Arm) -> None:
        """Raises `UserError` if the estimated memory of a run exceeds `OVERESTIMATE` times the device's memory. The
        message names changes to the arm that make the run fit. If the model is small compared with the device's
        memory, skips the estimate and raises no error."""
        device = pick_device(arm.device)
        there = available_memory(device)
        memory = None if is_served(arm) or is_small(starting_model(arm), there) else self.try_estimate(arm)
        if memory is None or memory.peak <= OVERESTIMATE * there:
            return
        where = "this machine" if device == "cpu" else f"the device {device}"
        changed = {words: change(arm) for words, change in CHANGES.items()}
        peaks = {words: self.estimate(other).peak for words, other in changed.items() if other is not None}
        fitting = [f"{words} ({peak / GIB:.1f} GiB)" for words, peak in peaks.items() if peak <= there]
        advice = (
            f"The run fits with one of these changes: {'; '.join(fitting)}." if fitting else "Name a smaller model."
        )
        raise UserError(
            f"The run {arm.name!r} needs about {memory.peak / GIB:.1f} GiB of memory, but {where} has "
            f"{there / GIB:.1f} GiB. The parts of the run's memory: {list_parts(memory)}. {advice}"
        )

    def _measure(self, spec: ModelSpec, arm: Arm, device: str) -> Footprint:
        key = (spec, arm.token_budget, device, arm.precision == "bf16", arm.checkpoint_activations)
        if key not in self._known:
            _, token_budget, _, bf16, recompute = key
            self._known[key] = measure_footprint(
                spec, token_budget=token_budget, device=device, bf16=bf16, recompute=recompute
            )
        return self._known[key]

    def _count_parameters(self, path: str, arm: Arm, device: str) -> int | None:
        """Returns the number of parameters of a saved model; None if it is not known."""
        if not path.startswith(STAGE):
            return count_saved_parameters(user_path(path)) or None
        spec = self.stage_models.get(path.removeprefix(STAGE))
        return None if spec is None else self._measure(spec, arm, device).parameters


def starting_model(arm: Arm) -> ModelSpec:
    """Returns the spec of a model that has as many weights as the run's model. If the run starts from the output of a
    stage, this is the base model: a stage trains the base model, and training does not change the number of weights."""
    path = arm.init or arm.policy
    if path is None or path.startswith(STAGE):
        return arm.model
    kept = {"lora": arm.model.lora, "trust_remote_code": arm.model.trust_remote_code}
    return ModelSpec.model_validate(path).model_copy(update=kept)


def is_small(model: ModelSpec, there: float) -> bool:
    """Returns True if the fp32 weights of a model take less than 1/`SMALL` of `there`, the device's memory in bytes.
    The memory can then hold more than `SMALL` copies of the weights. Training with AdamW needs 5 of them, so enough
    memory is left for further models and activations. Returns False for a model that is not on the disk."""
    if model.name == "tiny":
        return True
    directory = fetch() if model.name == "smollm2" else user_path(model.name)
    return 0 < SMALL * FP32 * count_saved_parameters(directory) < there


def models_beside(arm: Arm) -> Iterator[str]:
    """Yields the path of each saved model that a run holds in memory in addition to its policy."""
    for part in (arm.reward, arm.cost, *arm.evaluators.values()):
        yield from saved_models(part)


def sampling_load(arm: Arm, base: Footprint, device: str) -> SamplingLoad:
    """Returns what a run samples: the larger of what its method draws together and what its measurement draws."""
    drawn, new = (arm.evaluation.prompts or LARGE.prompts) * arm.evaluation.samples, arm.evaluation.max_new_tokens
    if arm.method is not None:
        drawn, new = max(drawn, arm.method.cost(LARGE).drawn), max(new, arm.method.drawn_tokens)
    return SamplingLoad(base, drawn, PROMPT_TOKENS + new, device)


def available_memory(device: str) -> float:
    """Returns the total memory of a device in bytes. For the CPU, this is the machine's main memory."""
    if device == "cpu":
        return psutil.virtual_memory().total
    return torch.cuda.mem_get_info(torch.device(device))[1]


def list_parts(memory: Memory) -> str:
    """Returns a phrase that lists the parts of a run's memory in GiB, the largest first. Leaves out parts below 0.05
    GiB."""
    parts = {
        "weights": memory.models,
        "gradients and the optimizer": memory.learning,
        "activations of a micro-batch": memory.activations,
        "sampling": memory.sampling,
        "the process": memory.process,
    }
    largest = sorted(parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {size / GIB:.1f} GiB" for name, size in largest if size > 0.05 * GIB)


def _with_small_batches(arm: Arm) -> Arm:
    return arm.model_copy(update={"checkpoint_activations": True, "token_budget": SMALLEST_BUDGET})


def _with_adapters(arm: Arm) -> Arm | None:
    """Returns a copy of the arm with LoRA; None if the arm already has LoRA."""
    return None if arm.model.lora is not None else arm.model_copy(update={"model": _adapted(arm.model)})


def _with_both(arm: Arm) -> Arm | None:
    adapted = _with_adapters(arm)
    return None if adapted is None else _with_small_batches(adapted)


def _adapted(model: ModelSpec) -> ModelSpec:
    return model.model_copy(update={"lora": LoRA()})


CHANGES: Mapping[str, Callable[[Arm], Arm | None]] = {
    f"checkpoint_activations with token_budget {SMALLEST_BUDGET}": _with_small_batches,
    "LoRA": _with_adapters,
    f"LoRA, checkpoint_activations and token_budget {SMALLEST_BUDGET}": _with_both,
}
"""Maps the description of each change that makes a run smaller to the function that makes this change."""
