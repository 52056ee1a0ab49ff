"""Forecasts a study on a cluster by formulas, for `preflab study --plan --cluster FILE`.

Nothing is timed but the judge. The speeds are those of `formulas`, and the counts of answers, rows and tokens are those of
the plan for this machine. The weights, gradients and moments of a run on several GPUs are split evenly over the GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from preflab.arm.match import Match
from preflab.arm.memory import MemoryEstimator
from preflab.arm.planned import Planned, PlannedRun
from preflab.arm.spec import Arm
from preflab.errors import UserError
from preflab.methods.cost import DataSize
from preflab.models.footprint import FP32, GIB, measure_footprint
from preflab.models.spec import ModelSpec
from preflab.spec import Context
from preflab.study.directory import refuse_other_study
from preflab.study.forecast import formulas
from preflab.study.forecast.cluster import ClusterSpec
from preflab.study.forecast.estimate import Estimate, size_of
from preflab.study.forecast.formulas import BF16, USABLE, ModelSize, RowLength
from preflab.study.forecast.schedule import Slot, busy_share, schedule
from preflab.study.forecast.speed import ANSWER_TOKENS, Examples, Speed, judging_seconds
from preflab.study.plan import planned_matches, planned_runs
from preflab.study.spec import Study
from preflab.testbeds.base import SPLITS, require_testbed
from preflab.types import Split

TOKEN_CHARACTERS = 4.0
"""The assumed number of characters in a token."""
LOADED_BYTES = 1e9
"""The assumed bytes of a model that a run reads from its disk in a second."""
SMALL_BUDGET = 4096
"""The tokens of a micro-batch for a run that would not fit with its own `token_budget`."""
PHASES = ("sampling", "training", "reading", "judging", "rest")
"""What the time of a run is divided into. Reading: forward passes without a backward pass. Rest: opening and loading."""


class Placement(NamedTuple):
    """How a run fits a cluster. `gpus`: the fewest GPUs. `gib`: the peak memory of each GPU. `recomputes`: whether the
    backward pass computes the activations again."""

    gpus: int
    gib: float
    recomputes: bool


@dataclass(frozen=True)
class RunPlan:
    """The plan of one run. `parameters`: those of its model. `phases`: its hours by phase."""

    placement: Placement
    parameters: int
    phases: Mapping[str, float]

    @property
    def hours(self) -> float:
        return sum(self.phases.values())


@dataclass(frozen=True)
class ScaleRow:
    """The forecast of the runs of a stage, an arm or a match. `runs`: their number. `plan`: the plan of each.
    `first_start`, `last_end`: the hours from the beginning of the study to the start of its first run and to the end of
    its last run."""

    part: str
    name: str
    method: str
    runs: int
    plan: RunPlan
    first_start: float
    last_end: float

    @property
    def gpu_hours(self) -> float:
        """The GPU hours of all runs."""
        return self.runs * self.plan.placement.gpus * self.plan.hours


@dataclass(frozen=True)
class ScaleForecast:
    """The forecast of a study on a cluster. `row`: the mean lengths of prompts and answers. `hours`: until the last run
    has ended. `busy`: the share of the GPUs' time in which a run uses them."""

    cluster: ClusterSpec
    row: RowLength
    rows: tuple[ScaleRow, ...]
    hours: float
    busy: float

    @property
    def gpu_hours(self) -> float:
        return sum(row.gpu_hours for row in self.rows)

    def as_data(self) -> dict[str, Any]:
        """Returns the forecast as plain data for JSON."""
        return {**asdict(self), "cluster": self.cluster.model_dump(), "gpu_hours": self.gpu_hours}


@dataclass(frozen=True)
class StudyData:
    """What a forecast must know about the data. `sizes`: the numbers of records of each split. `row`: the mean lengths.
    `judging`: the seconds of judging one program."""

    sizes: Mapping[Split, DataSize]
    row: RowLength
    judging: float = 0.0

    @classmethod
    def of(cls, study: Study) -> StudyData:
        """Opens the study's testbed. Times the judge on this machine if answers are programs."""
        with study.testbed.open(Context()) as opened:
            testbed = require_testbed(opened)
            sizes: dict[Split, DataSize] = {split: size_of(testbed, split) for split in SPLITS}
            examples = Examples.of(testbed, with_answers=sizes["train"].demonstrations > 0)
            return cls(sizes, mean_row(examples), judging=judging_seconds(testbed, examples))


def mean_row(examples: Examples) -> RowLength:
    """Returns the mean lengths of the examples, at `TOKEN_CHARACTERS` characters a token."""
    prompts = [sum(len(turn.content) for turn in prompt.turns) / TOKEN_CHARACTERS for prompt in examples.prompts]
    answers = [len(answer.text) / TOKEN_CHARACTERS if answer else ANSWER_TOKENS for answer in examples.answers]
    return RowLength(max(1.0, sum(prompts) / len(prompts)), max(1.0, sum(answers) / len(answers)))


def forecast_at_scale(
    study: Study, directory: Path, cluster: ClusterSpec, data: StudyData | None = None, *, fresh: bool = False
) -> ScaleForecast:
    """Computes how long all runs of a study take on a cluster, with how many GPUs and how much memory, and when they run.
    Runs that are done count too, and the tuning stage does not. `data`: what is known about the data; None to open the
    testbed. `fresh`: whether the runs in the directory will be replaced. Raises `UserError` if a run does not fit the
    cluster, if a model's configuration cannot be read, or if `fresh` is False and the directory belongs to another
    study."""
    if not fresh:
        refuse_other_study(study, directory)
    data = data or StudyData.of(study)
    planner = ScalePlanner(study, cluster, data)
    runs: list[Planned] = [*planned_runs(study, directory), *planned_matches(study, directory)]
    plans = {run.directory: planner.plan(run) for run in runs}
    seconds = {place: 3600 * plan.hours for place, plan in plans.items()}
    slots = schedule(runs, seconds, {place: plan.placement.gpus for place, plan in plans.items()}, cluster.gpus)
    names = dict.fromkeys((part_of(run), run.name) for run in runs)
    groups = [[slot for slot in slots if (part_of(slot.run), slot.run.name) == name] for name in names]
    rows = tuple(make_row(group, plans[group[0].run.directory]) for group in groups)
    last = max(slot.end for slot in slots) / 3600
    return ScaleForecast(cluster, data.row, rows, last, busy_share(slots, cluster.gpus))


class ScalePlanner:
    """Plans the runs of a study on a cluster. Runs of the same name differ in their seeds alone and are planned once."""

    def __init__(self, study: Study, cluster: ClusterSpec, data: StudyData) -> None:
        self._study = study
        self._cluster = cluster
        stages = {name: stage.model or study.model for name, stage in study.stages.items()}
        self._memory = MemoryEstimator(stages, device="cuda")
        self._estimate = Estimate(study, {}, data.sizes, 0.0, data.judging, sharing=1.0)
        self._row = data.row
        self._shapes: dict[ModelSpec, ModelSize] = {}
        self._plans: dict[tuple[str, str], RunPlan] = {}

    def plan(self, run: Planned) -> RunPlan:
        key = part_of(run), run.name
        if key not in self._plans:
            spec = run.spec
            is_match = isinstance(spec, Match)
            self._plans[key] = self._plan_match(spec) if is_match else self._plan_run(cast(PlannedRun, run))
        return self._plans[key]

    def _plan_run(self, run: PlannedRun) -> RunPlan:
        shape = self._shape(run.spec.model)
        placement = self._place(run.spec)
        return RunPlan(placement, shape.parameters, self._phases(run, self._speed(shape, placement)))

    def _plan_match(self, match: Match) -> RunPlan:
        """Plans a match. The model that compares the answers is taken to be as large as the model of the arms."""
        model = self._study.arms[match.first].model or self._study.model
        shape = self._shape(model)
        weights = BF16 * shape.parameters
        gpus = next((count for count in self._cluster.counts() if self._holds(weights / count)), self._cluster.gpus)
        placement = Placement(gpus, weights / gpus / GIB, recomputes=False)
        estimate = replace(self._estimate, speeds=dict.fromkeys([model], self._speed(shape, placement)))
        return RunPlan(placement, shape.parameters, {"reading": estimate.match_seconds(match) / 3600})

    def _shape(self, model: ModelSpec) -> ModelSize:
        if model not in self._shapes:
            footprint = measure_footprint(model, token_budget=SMALL_BUDGET, device="cuda", bf16=True, recompute=True)
            token_bytes = footprint.token_bytes * BF16 / FP32
            self._shapes[model] = ModelSize(footprint.parameters, footprint.trainable, token_bytes)
        return self._shapes[model]

    def _holds(self, size: float) -> bool:
        return size <= USABLE * self._cluster.gpu.memory_gib * GIB

    def _place(self, arm: Arm) -> Placement:
        """Returns the fewest GPUs on which a run fits. On each number of GPUs, the run is first taken as it is, then with
        activations that are computed again, then with micro-batches of `SMALL_BUDGET` tokens too. Raises `UserError` if
        the run does not fit the whole cluster."""
        recomputing = arm.model_copy(update={"checkpoint_activations": True})
        variants = [arm, recomputing, recomputing.model_copy(update={"token_budget": SMALL_BUDGET})]
        memories = [self._memory.estimate(variant) for variant in variants]
        for gpus in self._cluster.counts():
            for variant, memory in zip(variants, memories, strict=True):
                size = (memory.models + memory.learning + memory.sampling) / gpus + memory.activations
                if self._holds(size):
                    return Placement(gpus, size / GIB, variant.checkpoint_activations)
        least = (memories[-1].models + memories[-1].learning) / self._cluster.gpus / GIB
        raise UserError(
            f"The run {arm.name!r} does not fit the cluster: its weights, gradients and moments alone take "
            f"{least:.0f} GiB on each of {self._cluster.gpus} GPUs with {self._cluster.gpu.memory_gib:.0f} GiB. Plan more "
            "nodes, a smaller model, or LoRA."
        )

    def _speed(self, shape: ModelSize, placement: Placement) -> Speed:
        """Returns the speed of a model on the GPUs of a run, by the formulas."""
        where = (shape, self._row, self._cluster, placement.gpus)
        return Speed(
            sampling=formulas.sampling_seconds(*where),
            training=formulas.training_seconds(*where, recomputes=placement.recomputes),
            forward=formulas.reading_seconds(*where),
            forward_flops=formulas.reading_flops(shape, self._row),
            loading=BF16 * shape.parameters / LOADED_BYTES,
        )

    def _phases(self, run: PlannedRun, speed: Speed) -> dict[str, float]:
        """Returns the hours of a run by phase. The time is a sum of counts times speeds, so that each phase is what the
        time shrinks by if the phase took no time."""
        model = run.spec.model

        def hours(judging: float, **changes: float) -> float:
            estimate = replace(
                self._estimate, speeds=dict.fromkeys([model], replace(speed, **changes)), judging=judging
            )
            return estimate.seconds(run) / 3600

        judging = self._estimate.judging
        whole = hours(judging)
        phases = {
            "sampling": whole - hours(judging, sampling=0.0),
            "training": whole - hours(judging, training=0.0),
            "reading": whole - hours(judging, forward=0.0),
            "judging": whole - hours(0.0),
        }
        return phases | {"rest": whole - sum(phases.values())}


def part_of(run: Planned) -> str:
    """Returns whether a run is a stage, an arm or a match."""
    return "match" if not isinstance(run, PlannedRun) else "stage" if run.is_stage else "arm"


def make_row(slots: Sequence[Slot], plan: RunPlan) -> ScaleRow:
    """Returns the forecast of the runs of one name. `slots`: when they run."""
    spec = slots[0].run.spec
    method = spec.evaluator if isinstance(spec, Match) else spec.method
    return ScaleRow(
        part=part_of(slots[0].run),
        name=slots[0].run.name,
        method="measured only" if method is None else method.kind_name,
        runs=len(slots),
        plan=plan,
        first_start=min(slot.start for slot in slots) / 3600,
        last_end=max(slot.end for slot in slots) / 3600,
    )
