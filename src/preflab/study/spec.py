"""A study as data: what is compared, on what, under which budget; and the runs that follow from it. No torch.

A study's `stages` (SFT, pairs, reward model) run once per seed and are shared by that seed's `arms`, which makes arms
paired. Everything is redrawn by the seed: initialisation, data order, noise, pairs, rollouts and evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from preflab.arm.spec import STAGE, STAGES, Arm, Job, Precision, made_elsewhere
from preflab.errors import UserError, nearest
from preflab.evaluation import EVALUATORS
from preflab.evaluation.settings import Evaluation
from preflab.meter import Unit
from preflab.models.spec import ModelSpec
from preflab.sampling import SAMPLERS
from preflab.spec import Spec, parse_spec, read_data, variant
from preflab.study.claims import Claim, PaperTable, Sweep, check_arms
from preflab.testbeds import TESTBEDS
from preflab.train.settings import Budget

SMOKE, PAPER = "smoke", "paper"
"""Sizes of a study: what its file says, and the paper's."""
PRESETS = Path(__file__).parent / "presets"


class StudyBudget(Spec):
    """The budget that binds every arm: `amount` FLOP (compute), or labels; the other one is reported."""

    unit: Unit = "compute"
    amount: float = Field(gt=0, allow_inf_nan=False)


class Contestant(Job):
    """An arm of a study. `baseline`: a starting point, shown but not a candidate for the verdict."""

    description: str = ""
    baseline: bool = False


class Trial(Spec):
    """One tuning trial that was run: its settings, the tuning seed, and its validation score (None: it diverged)."""

    arm: str
    settings: dict[str, JsonValue]
    seed: int
    score: float | None
    chosen: bool = False


class Tuning(Spec):
    """The same number of `trials` for every arm of `spaces` (dotted field -> values), chosen on the validation split with
    `seeds` that the report does not use. `shipped`: trials that were run before and whose choice the arms already hold.
    """

    trials: int = Field(default=6, ge=1)
    seeds: tuple[int, ...] = (1000,)
    spaces: dict[str, dict[str, tuple[JsonValue, ...]]]
    shipped: tuple[Trial, ...] = ()


class Study(Spec):
    """A study file. `comparisons` are the pairs named beforehand; without them every arm is compared with every other.
    `claims` are decided one by one, as a family of their own; `paper` and `sweep` are drawn in the report. `headline`: the
    measure of programs that decides ("pass@5", "10@1000"); by itself pass@1, and of texts the score."""

    schema_version: Literal[1] = 1
    name: str
    question: str = ""
    model: ModelSpec = ModelSpec()
    testbed: Annotated[Any, *variant(TESTBEDS)]
    sampler: Annotated[Any, *variant(SAMPLERS)] = "native"
    evaluator: Annotated[Any, *variant(EVALUATORS)] = "hidden-tests"
    evaluation: Evaluation = Evaluation()
    headline: str = ""
    seeds: int = Field(default=5, ge=1)
    budget: StudyBudget | None = None
    looks: int = Field(default=4, ge=1)
    stages: dict[str, Job] = {}
    arms: dict[str, Contestant]
    comparisons: tuple[tuple[str, str], ...] = ()
    claims: tuple[Claim, ...] = ()
    paper: PaperTable | None = None
    sweep: Sweep | None = None
    tuning: Tuning | None = None
    caveats: tuple[str, ...] = ()
    threads: int = Field(default=1, ge=1)
    memory_gb: float = Field(default=1.0, gt=0)
    token_budget: int = Field(default=8192, ge=1)
    precision: Precision = "fp32"
    device: str = "auto"

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        measured_by = evaluator_stage(self)
        if measured_by is not None and measured_by not in self.stages:
            raise UserError(f"`evaluator` names the stage {measured_by!r}.{nearest(measured_by, self.stages)}")
        for name, job in (*self.stages.items(), *self.arms.items()):
            for needed in needs(job):
                if needed not in self.stages:
                    raise UserError(f"`{name}` needs the stage {needed!r}.{nearest(needed, self.stages)}")
        for arm in (arm for pair in self.comparisons for arm in pair):
            if arm not in self.arms:
                raise UserError(f"`comparisons` names the arm {arm!r}.{nearest(arm, self.arms)}")
        for arm in self.tuning.spaces if self.tuning else ():
            if arm not in self.arms:
                raise UserError(f"`tuning.spaces` names the arm {arm!r}.{nearest(arm, self.arms)}")
        check_arms(self.claims, self.sweep, self.arms)
        if self.headline and self.headline not in self.evaluation.rates:
            raise UserError(
                f"`headline` is {self.headline!r}, which is not measured.{nearest(self.headline, self.evaluation.rates)}"
            )
        return self

    def with_testbed(self, **changes: Any) -> Study:
        """The study, and every stage and arm with a testbed of its own, with other settings of it; raises `UserError` where it
        has none of that name."""

        def changed(testbed: Any) -> Any:
            absent = next((name for name in changes if testbed and name not in type(testbed).model_fields), None)
            if absent is not None:
                has = "brings its own data" if absent == "data" else "has no such setting"
                raise UserError(f"The testbed {testbed.kind} {has}: --{absent.replace('_', '-')} does not apply.")
            return testbed and parse_spec(type(testbed), {**testbed.model_dump(), **changes}, where="the command line")

        stages = {name: job.model_copy(update={"testbed": changed(job.testbed)}) for name, job in self.stages.items()}
        arms = {name: arm.model_copy(update={"testbed": changed(arm.testbed)}) for name, arm in self.arms.items()}
        return self.model_copy(update={"testbed": changed(self.testbed), "stages": stages, "arms": arms})

    def with_model(self, name: str) -> Study:
        """The study with another base model: a name, a directory, or a name on the hub."""
        return self.model_copy(update={"model": self.model.model_copy(update={"name": name})})


@dataclass(frozen=True)
class Task:
    """One run of a study: its arm (without the budget's `charged`, known once its stages are done) and its directory.

    `needs`: the runs it stands on, which are charged to it; `waits`: the evaluator's, which is not.
    """

    name: str
    seed: int
    arm: Arm
    directory: Path
    needs: tuple[Path, ...]
    waits: tuple[Path, ...] = ()


def load_study(name: str, size: str | None = None) -> Study:
    """A preset by its name, or a study file (YAML, TOML, JSON), in one of the `sizes` that it offers.

    A file may hold `sizes: {NAME: {...}}`: settings that replace its own, at any depth, when that size is asked for; the study
    is then called `STUDY-NAME`, so that two sizes never share a directory. What the file itself says is `smoke`. Raises
    `UserError` with the nearest right name.
    """
    data = study_data(name)
    sizes = (data.pop("sizes", None) or {}) if isinstance(data, dict) else {}
    if SMOKE in sizes:
        raise UserError(f"{name}: `sizes` may not hold {SMOKE!r}, which is what the file itself says.")
    if size not in (None, SMOKE):
        if size not in sizes:
            raise UserError(f"{name}: there is no size {size!r}.{nearest(size, [*sizes, SMOKE])}")
        data = merged(data, sizes[size])
        data["name"] = f"{data.get('name')}-{size}"
    return parse_spec(Study, data, where=name)


def study_data(name: str) -> Any:
    """What the file of a preset or of the user's says. Raises `UserError` with the nearest right name."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml", ".toml", ".json"):
        if name not in presets():
            raise UserError(
                f"Unknown study {name!r}.{nearest(name, presets())} Or give a study file (.yaml, .toml, .json)."
            )
        path = PRESETS / f"{name}.yaml"
    return read_data(path)


def merged(data: Any, patch: Any) -> Any:
    """`data` with the values of `patch` in place of its own, mapping by mapping."""
    if not (isinstance(data, dict) and isinstance(patch, dict)):
        return patch
    return {**data, **{key: merged(data.get(key), value) for key, value in patch.items()}}


def summary_of(path: Path) -> str:
    """The first comment line of a preset: what it is for."""
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def presets() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def narrowed(study: Study, arms: list[str] | None, seeds: int | None) -> Study:
    """The study with some of its arms and another number of seeds; what speaks of an arm that was left out (a comparison, a
    claim) goes too. Raises `UserError` for an arm that it does not have, or for less than one seed."""
    if seeds is not None and seeds < 1:
        raise UserError(f"A study needs at least one seed, not {seeds}.")
    for arm in arms or []:
        if arm not in study.arms:
            raise UserError(f"The study {study.name!r} has no arm {arm!r}.{nearest(arm, study.arms)}")
    kept = {name: arm for name, arm in study.arms.items() if not arms or name in arms}
    pairs = tuple(pair for pair in study.comparisons if pair[0] in kept and pair[1] in kept)
    tuning = study.tuning
    if tuning is not None:
        spaces = {name: space for name, space in tuning.spaces.items() if name in kept}
        shipped = tuple(trial for trial in tuning.shipped if trial.arm in kept)
        tuning = tuning.model_copy(update={"spaces": spaces, "shipped": shipped}) if spaces else None
    claims = tuple(claim for claim in study.claims if all(arm in kept for arm in claim.contrast))
    sweep = study.sweep and study.sweep.among(kept)
    changes = {"arms": kept, "comparisons": pairs, "seeds": seeds or study.seeds, "tuning": tuning}
    return study.model_copy(update={**changes, "claims": claims, "sweep": sweep})


def needs(job: Job) -> list[str]:
    """The stages that a job names."""
    return [path.removeprefix(STAGE) for path in made_elsewhere(job) if path.startswith(STAGE)]


def learned_path(spec: Any) -> str | None:
    """The reward model that an evaluator holds."""
    return getattr(getattr(spec, "model", spec), "path", None)


def evaluator_stage(study: Study) -> str | None:
    """The stage that trains the study's evaluator, where one does."""
    path = learned_path(study.evaluator)
    return path.removeprefix(STAGE) if path is not None and path.startswith(STAGE) else None


def all_needs(study: Study, job: Job) -> list[str]:
    """The stages that a job stands on, directly or not, each once."""
    found: list[str] = []
    for name in needs(job):
        found += [stage for stage in (*all_needs(study, study.stages[name]), name) if stage not in found]
    return list(dict.fromkeys(found))


def tasks(study: Study, directory: Path) -> Iterator[Task]:
    """Every run of the study proper, seed by seed, each after what it stands on."""
    for seed in range(study.seeds):
        home = directory / f"seed-{seed}"
        used = {stage for arm in study.arms.values() for stage in all_needs(study, arm)} | {evaluator_stage(study)}
        for name in study.stages:
            if name in used:
                yield task(study, name, study.stages[name], seed, home, measure="none")
        for name, arm in study.arms.items():
            yield task(study, name, arm, seed, home, measure="test")


def trials(study: Study, directory: Path) -> Iterator[tuple[str, dict[str, Any], Task]]:
    """Every run of the tuning stage as (arm, settings, task), after the stages of the tuning seeds (arm '')."""
    assert study.tuning is not None
    for seed in study.tuning.seeds:
        home = directory / "tuning" / f"seed-{seed}"
        used = {stage for name in study.tuning.spaces for stage in all_needs(study, study.arms[name])}
        used |= {evaluator_stage(study)}
        for name in study.stages:
            if name in used:
                yield "", {}, task(study, name, study.stages[name], seed, home, measure="none")
        for name, space in study.tuning.spaces.items():
            for number, settings in enumerate(choices(space, study.tuning.trials)):
                job = with_settings(study.arms[name], settings, where=f"tuning.spaces.{name}")
                yield name, settings, task(study, f"{name}.{number}", job, seed, home, measure="validation")


def choices(space: Mapping[str, tuple[JsonValue, ...]], count: int) -> list[dict[str, JsonValue]]:
    """`count` settings of a space: its whole grid where that is small enough, else evenly spaced points of it."""
    grid: list[dict[str, JsonValue]] = [{}]
    for field, values in space.items():
        grid = [{**point, field: value} for point in grid for value in values]
    if len(grid) <= count:
        return grid
    return [grid[i * len(grid) // count] for i in range(count)]


def with_settings(job: Job, settings: Mapping[str, JsonValue], *, where: str) -> Any:
    """The job with dotted fields of its method replaced; raises `UserError` on a field that the method does not have."""
    data = job.method.model_dump()
    for field, value in settings.items():
        *parents, leaf = field.split(".")
        node = data
        for parent in parents:
            node = node.get(parent, {})
        if leaf not in node:
            raise UserError(f"{where}: the method has no field {field!r}.{nearest(leaf, node)}")
        node[leaf] = value
    method = parse_spec(type(job.method), data, where=where)
    return job.model_copy(update={"method": method})


def task(
    study: Study, name: str, job: Job, seed: int, home: Path, *, measure: Literal["test", "validation", "none"]
) -> Task:
    """The run of one job under one seed."""
    is_arm = measure != "none"
    arm = Arm(
        name=name,
        seed=seed,
        measure=measure,
        budget=Budget(unit=study.budget.unit, amount=study.budget.amount) if is_arm and study.budget else None,
        evaluator=study.evaluator
        if is_arm or (getattr(job.method, "product", "") == "policy" and name != evaluator_stage(study))
        else None,
        **{field: getattr(job, field) for field in Job.model_fields if field not in ("testbed", "model")},
        testbed=job.testbed or study.testbed,
        model=job.model or study.model,
        **{field: getattr(study, field) for field in SHARED},
    )
    directory = home / name if is_arm else home / STAGES / name
    needed = tuple(home / STAGES / stage for stage in all_needs(study, job))
    measured_by = evaluator_stage(study) if arm.evaluator is not None else None
    waits = (home / STAGES / measured_by,) if measured_by is not None else ()
    return Task(name, seed, arm, directory, needed, waits)


SHARED = (
    "sampler",
    "evaluation",
    "looks",
    "threads",
    "device",
    "precision",
    "token_budget",
)
